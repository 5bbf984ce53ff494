-- What can be done to a run. Approving is none of it: the API server would see Argo CD's account, and not the person.

local status = obj.status or {}
local control = obj.spec.control or {}
local ended = status.phase == "Failed" or status.phase == "Cancelled"
local final = ended or status.phase == "Succeeded"

local actions = {}
actions["cancel"] = {
  ["disabled"] = final or control.cancel == true,
  ["displayName"] = "Cancel",
  ["iconClass"] = "fa fa-fw fa-stop",
}
actions["retry"] = {
  -- The new run's name is this one's with -retry, and a name has 253 characters at most.
  ["disabled"] = not ended or #obj.metadata.name > 247,
  ["displayName"] = "Retry",
  ["iconClass"] = "fa fa-fw fa-redo",
}
return actions
