-- Health of a Workflow: whether runs of it can start, and whether they could do anything.
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

if conditions.Ready == nil or status.observedGeneration ~= obj.metadata.generation then
  health.status = "Progressing"
  health.message = "The operator has not looked at this generation yet"
elseif not is("Ready", "True") then
  health.status = "Degraded"
  health.message = told("Ready")
elseif is("PermissionsReady", "False") then
  health.status = "Degraded"
  health.message = told("PermissionsReady")
elseif is("UndoneByAnother", "True") then
  health.status = "Degraded"
  health.message = told("UndoneByAnother")
elseif obj.spec ~= nil and obj.spec.lifecycle == "Draft" then
  health.status = "Suspended"
  health.message = conditions.Ready.message or ""
else
  health.status = "Healthy"
  health.message = conditions.Ready.message or ""
end
return health
