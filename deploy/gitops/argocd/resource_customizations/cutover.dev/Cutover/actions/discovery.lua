-- What a person may say here. Never an approval: an action arrives with the account of Argo CD and no person's name.

local status = obj.status or {}
local phase = status.phase or "Idle"
local is = {}
for _, condition in ipairs(status.conditions or {}) do
  is[condition.type] = condition.status
end
local run = status.run ~= nil and status.run.uid ~= nil
local before = phase == "Pending" or phase == "Preflight" or phase == "Preparing" or phase == "Verifying"
local after = phase == "Switching" or phase == "Confirming" or phase == "Observing" or phase == "Finishing"
-- A completed run that rests can go back as long as it says so.
local rests = phase == "Completed" and is.CanRollBack == "True"
local suspended = is.Suspended == "True"
local by_field = obj.spec.suspend == true

return {
  abort = { disabled = not (run and before), iconClass = "fa fa-fw fa-ban" },
  rollback = { disabled = not (run and (after or rests)), iconClass = "fa fa-fw fa-undo" },
  suspend = { disabled = not (run and (before or after) and not suspended), iconClass = "fa fa-fw fa-pause" },
  resume = { disabled = not (run and suspended and not by_field), iconClass = "fa fa-fw fa-play" },
}
