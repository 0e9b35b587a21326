-- tell: what happened to these jobs, at most 50 ids an entry.
--   add, claim and complete spell it out: a helper's closure is made anew in every call.
-- needs: events
local function tell(event, ids)
  for from = 1, #ids, 50 do
    redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', event, 'i',
      table.concat(ids, ' ', from, math.min(from + 49, #ids)))
  end
end
