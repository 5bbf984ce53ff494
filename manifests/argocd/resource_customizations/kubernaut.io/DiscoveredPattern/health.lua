-- Health of a pattern: whether it is learned from. It can't be Degraded, for no work of its own can fail.
-- It uses Lua's base library alone, for Argo CD gives no other to what argocd-cm holds.

local health = {}
local status = obj.status or {}
local conditions = {}
for _, condition in ipairs(status.conditions or {}) do
  conditions[condition.type or ""] = condition
end

local function is(kind, truth)
  return conditions[kind] ~= nil and conditions[kind].status == truth
end

local function told(kind)
  return (conditions[kind].reason or kind) .. ": " .. (conditions[kind].message or "")
end

if is("FeatureOff", "True") then
  -- Meanwhile no generation is looked at.
  health.status = "Suspended"
  health.message = told("FeatureOff")
elseif not is("Ready", "True") or status.observedGeneration ~= obj.metadata.generation then
  health.status = "Progressing"
  health.message = "The analyst has not looked at this generation yet"
elseif is("Active", "False") then
  health.status = "Suspended"
  health.message = told("Active")
elseif obj.spec ~= nil and obj.spec.muted then
  health.status = "Suspended"
  health.message = "Muted: nothing is recommended from it"
else
  health.status = "Healthy"
  health.message = (status.support or 0) .. " runs"
  if status.recommended ~= nil and status.recommended.workflow ~= nil then
    health.message = health.message .. "; recommends Workflow " .. status.recommended.workflow
  end
end
return health
