#!lua flags=allow-oom
-- gates: those whose time to be looked at has come; each is the caller's for `held_ms`. A time beyond
--   `longest_ms` was written before the clock was set back: it has come, too. In a paused queue nothing
--   starts, so that no gate is to be looked at.
--   answers word, ms until the next one's time (-1: there is none), then gate, parked jobs pairs
-- from: any
-- to: any
-- keys: parked gates meta
-- args: most held_ms longest_ms
-- replies: OK
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HEXISTS', meta, 'paused') == 1 then return {'OK', -1} end
local due = redis.call('ZRANGEBYSCORE', gates, '-inf', now, 'LIMIT', 0, most)
if #due == 0 then due = redis.call('ZRANGEBYSCORE', gates, '(' .. now + longest_ms, '+inf', 'LIMIT', 0, most) end
local reply = {'OK', -1}
for k = 1, #due do
  reply[#reply + 1] = due[k]
  reply[#reply + 1] = redis.call('ZLEXCOUNT', parked, '[' .. due[k] .. ':', '(' .. due[k] .. ';')
end
for k = 1, #due do redis.call('ZADD', gates, now + held_ms, due[k]) end
local head = redis.call('ZRANGE', gates, 0, 0, 'WITHSCORES')[2]
if head then reply[2] = math.max(0, head - now) end
return reply
