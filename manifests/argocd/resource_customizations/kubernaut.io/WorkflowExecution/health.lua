-- Health of a run: Degraded where it ended without success, Suspended while it waits for a person.
-- It uses Lua's base library alone, for Argo CD gives no other to what argocd-cm holds.

local health = {}
local status = obj.status or {}
local ready = nil
for _, condition in ipairs(status.conditions or {}) do
  if condition.type == "Ready" then
    ready = condition
  end
end

-- Why a run is held until a person does something.
local persons = {
  ApprovalRequired = true,
  FeatureOff = true,
  MigrationRefused = true,
  NeedsPerson = true,
  Paused = true,
  Stopped = true,
}

local function asked()
  for _, step in ipairs(status.steps or {}) do
    if step.phase == "Waiting" and step.reason == "ApprovalRequired" then
      return step.name or "approval"
    end
  end
  return nil
end

if ready == nil then
  health.status = "Progressing"
  health.message = "The operator has not taken it up yet"
elseif status.phase == "Succeeded" or status.verdict == "SelfHealed" then
  -- What is final stays so, whatever is written into spec.control afterwards. Where the alert was resolved before
  -- anything was begun there is nothing left to do.
  health.status = "Healthy"
  health.message = (status.verdict or "Succeeded") .. ": " .. (ready.message or "")
elseif status.phase == "Failed" or status.phase == "Cancelled" then
  health.status = "Degraded"
  health.message = (ready.reason or status.phase) .. ": " .. (ready.message or "")
elseif status.observedGeneration ~= obj.metadata.generation then
  health.status = "Progressing"
  health.message = "The operator has not looked at this generation yet"
elseif asked() ~= nil then
  health.status = "Suspended"
  health.message = "Step " .. asked() .. " waits for a person to approve or deny it"
elseif status.phase == "Suspended" or persons[ready.reason] then
  health.status = "Suspended"
  health.message = (ready.reason or status.phase) .. ": " .. (ready.message or "")
else
  health.status = "Progressing"
  health.message = status.phase or "Pending"
  if ready.reason ~= nil and ready.reason ~= status.phase then
    health.message = health.message .. ", " .. ready.reason
  end
  if status.progress ~= nil then
    health.message = health.message .. ", " .. status.progress .. " steps"
  end
end
return health
