-- once: a call under an idempotency key does its work once, and is answered later as it was then: what
--   it answered is written down in the script that did it.
-- needs: idem once (the name of the work there; empty: no key)
local function before()
  local said = once ~= '' and redis.call('HGET', idem, once)
  if not said then return nil end
  local reply = {}
  for word in string.gmatch(said .. ' ', '(.-) ') do reply[#reply + 1] = word end
  return reply
end
local function told(...)
  if once ~= '' then
    redis.call('HSET', idem, once, table.concat({...}, ' '))
    redis.call('PEXPIRE', idem, 86400000)
  end
  return {...}
end
