-- The run of one release, which a Cutover starts. Its spec never changes, so there is no generation to wait for.

local status = obj.status or {}
local phase = status.phase or "Pending"

local is, why = {}, {}
for _, condition in ipairs(status.conditions or {}) do
  is[condition.type] = condition.status
  why[condition.type] = condition.message
end
local function said(message)
  if message ~= nil and message ~= "" then
    return phase .. ": " .. message
  end
  return phase
end

if phase == "RolledBack" or phase == "Failed" or phase == "Aborted" then
  return { status = "Degraded", message = said(why.Stalled) }
end
-- A newer release took its place: nothing is wrong, and nothing is awaited of it.
if phase == "Completed" or phase == "Superseded" then
  return { status = "Healthy", message = phase }
end
for _, type in ipairs({ "RollbackBlocked", "SelectorDrift" }) do
  if is[type] == "True" then
    return { status = "Degraded", message = type .. ": " .. (why[type] or phase) }
  end
end
for _, type in ipairs({ "OutcomeUnknown", "AwaitingDecision", "Suspended" }) do
  if is[type] == "True" then
    return { status = "Suspended", message = why[type] or phase }
  end
end
return { status = "Progressing", message = said(why.Ready) }
