#!lua flags=allow-oom
-- unpark: parked jobs of a gate become due, those added first come first; it is looked at again after
--   `look_ms`, unless nobody is left. Members whose job has moved on since are dropped on the way.
--   answers word, how many became due, 1 if others are left
-- from: delayed
-- to: delayed
-- keys: delayed wake meta parked gates
-- args: gate most look_ms
-- replies: OK
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local want = math.min(most + 0, 100)
local line = redis.call('ZRANGEBYLEX', parked, '[' .. gate .. ':', '(' .. gate .. ';', 'LIMIT', 0, want + 100)
local scores, passed = {}, {}
for k = 1, #line do
  local due, id = string.match(line[k], '^[^:]*:%d+:(%d+):(.*)$')
  local score = tonumber(redis.call('ZSCORE', delayed, id) or -1)
  local is_here = score >= 0 and score % 1e13 == tonumber(due)
  if is_here and #scores == 2 * want then break end
  passed[k] = line[k]
  if is_here then
    scores[#scores + 1] = string.format('%.0f', score - score % 1e13 + now)
    scores[#scores + 1] = id
  end
end
local is_left = #passed < #line or #line == want + 100
local head = tonumber(redis.call('HGET', meta, 'due'))
redis.call('ZCARD', gates); redis.call('ZCARD', wake)

if #passed > 0 then redis.call('ZREM', parked, unpack(passed)) end
if is_left then redis.call('ZADD', gates, now + look_ms, gate) else redis.call('ZREM', gates, gate) end
if #scores > 0 then
  redis.call('ZADD', delayed, unpack(scores))
  if not head or head > now then redis.call('HSET', meta, 'due', now) end
  redis.call('ZADD', wake, 0, '1')
end
return {'OK', #scores / 2, is_left and 1 or 0}
