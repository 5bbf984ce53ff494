-- Start a new run that takes over what this one did before it ended.
--
-- Its name follows from this run's, so that pressing twice starts one; another try is a retry of the retry. It has no
-- owner, for it must outlive this run, and says nothing of who starts it: that is for the API server to know.
-- A table without entries would become a list on its way, so what is empty is left out.

local run = {}
run.apiVersion = obj.apiVersion
run.kind = obj.kind
run.metadata = {}
run.metadata.name = obj.metadata.name .. "-retry"
run.metadata.namespace = obj.metadata.namespace
-- It keeps the run until the history has it.
run.metadata.finalizers = { "kubernaut.io/mirror" }
if #obj.spec.workflowRef.name <= 63 then
  run.metadata.labels = {}
  run.metadata.labels["kubernaut.io/workflow"] = obj.spec.workflowRef.name
end
run.spec = {}
run.spec.workflowRef = { name = obj.spec.workflowRef.name }
if obj.spec.parameters ~= nil and #obj.spec.parameters > 0 then
  run.spec.parameters = obj.spec.parameters
end
if obj.spec.dryRun then
  run.spec.dryRun = true
end
run.spec.trigger = { type = "Retry", reason = "retried with Argo CD" }
run.spec.retryFrom = { name = obj.metadata.name }

local created = {}
created.operation = "create"
created.resource = run
local result = {}
result[1] = created
return result
