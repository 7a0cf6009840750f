-- A decision about the run that stands in the status. It carries the name of the account that Argo CD writes with, which the
-- admission policy compares; which user clicked stands in the log of Argo CD and in an Event of the Application.

local run = obj.status and obj.status.run
if run == nil or run.uid == nil then
  error("there is no run to decide about")
end
local by = "system:serviceaccount:argocd:argocd-server"
local annotations = obj.metadata.annotations
if annotations ~= nil and annotations["cutover.dev/argocd-account"] ~= nil then
  by = annotations["cutover.dev/argocd-account"]
end
local decision = {
  apiVersion = obj.apiVersion,
  kind = "CutoverDecision",
  metadata = {
    generateName = obj.metadata.name .. "-argocd-",
    namespace = obj.metadata.namespace,
  },
  spec = {
    cutover = obj.metadata.name,
    runUID = run.uid,
    decision = "Rollback",
    by = by,
    comment = "said in Argo CD, whose log names the user",
  },
}
return { { operation = "create", resource = decision } }
