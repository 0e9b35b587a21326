#!lua flags=allow-oom
-- dest_look: how many of `count` jobs that are parked for a destination may come now. Places are
--   promised to them: jobs that were not parked do not get them. Promises end together, 10 s after the
--   first, so that those for jobs that never come do not add up. `unused` were promised before and
--   nobody came. Of a disabled destination some come, too: to fail.
--   answers word, how many, ms until it is worth looking again
-- from: any
-- to: any
-- keys: about leases rate
-- args: count unused lease_ms limit rate_max rate_ms open_ms forget_ms
-- replies: OK
-- uses: room
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', about, 'state', 'until', 'probe', 'not_before', 'limit', 'rate_max',
  'rate_ms', 'promised', 'promised_until', 'kept', 'origin')
local running = redis.call('ZCOUNT', leases, '(' .. now, now + lease_ms)
local free, _, again = room(now, known, running, function() return false end)
local look_ms = math.min(math.max(again - now, 50), 30000)
local per, window = tonumber(known[6] or rate_max), tonumber(known[7] or rate_ms)
if known[1] == 'disabled' then free, look_ms = 20, 200
elseif free > 0 then
  look_ms = per > 0 and math.min(math.max(math.ceil(window / per), 50), 1000) or 1000
end
local has = math.max(0, promised(now, known) - unused)
local more = math.max(0, math.min(free - has, count + 0))
if not known[11] and more == 0 then return {'OK', 0, look_ms} end

redis.call('HSET', about, 'parked', count - more, 'promised', has + more)
if more > 0 and has == 0 then redis.call('HSET', about, 'promised_until', now + 10000) end
if not known[10] then redis.call('PEXPIRE', about, forget_ms) end
return {'OK', more, look_ms}
