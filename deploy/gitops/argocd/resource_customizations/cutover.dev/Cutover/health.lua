-- Healthy is only what is done for the generation that stands there. Progressing and Suspended hold later sync waves back;
-- Degraded fails the sync, and stands until the next release.

local status = obj.status or {}

if obj.metadata.deletionTimestamp ~= nil then
  return { status = "Progressing", message = "is being deleted" }
end
-- The operator has not taken up what was applied last: whatever else is shown is about something older.
if status.observedGeneration == nil or status.observedGeneration ~= obj.metadata.generation then
  return { status = "Progressing", message = "waits for the operator to take up what was applied" }
end

local is, why = {}, {}
for _, condition in ipairs(status.conditions or {}) do
  is[condition.type] = condition.status
  why[condition.type] = condition.message
end

local phase = status.phase or "Pending"
local function said(message)
  if message ~= nil and message ~= "" then
    return phase .. ": " .. message
  end
  return phase
end

if is.Accepted == "False" then
  return { status = "Degraded", message = why.Accepted }
end
-- What users get is not what was decided.
for _, type in ipairs({ "RollbackBlocked", "SelectorDrift" }) do
  if is[type] == "True" then
    return { status = "Degraded", message = type .. ": " .. (why[type] or phase) }
  end
end
if is.Stalled == "True" then
  return { status = "Degraded", message = said(why.Stalled) }
end
if is.Ready == "True" then
  return { status = "Healthy", message = phase }
end
-- Nothing goes on before a person says so.
for _, type in ipairs({ "OutcomeUnknown", "AwaitingDecision", "Suspended" }) do
  if is[type] == "True" then
    return { status = "Suspended", message = why[type] or phase }
  end
end
return { status = "Progressing", message = said(status.message) }
