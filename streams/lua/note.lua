#!lua flags=allow-oom
-- note: a running job reports progress (kind p) or adds a log line (kind l), kept to the last 100
--   lines and 16 KiB. Refused for a claim that is no longer held.
-- from: active
-- to: active
-- keys: jobs run events
-- args: id place kind value
-- replies: OK LOST
if redis.call('HGET', jobs, id) ~= place then return {'LOST'} end
redis.call('XLEN', events)
if kind == 'p' then
  redis.call('HSET', run, id .. ':p', value)
  redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'progress', 'i', id)
  return {'OK'}
end
local lines = redis.call('HGET', run, id .. ':l')
lines = lines and lines .. '\n' .. value or value
local _, count = string.gsub(lines, '\n', '')
while count >= 100 or #lines > 16384 and count > 0 do
  lines, count = string.sub(lines, string.find(lines, '\n', 1, true) + 1), count - 1
end
redis.call('HSET', run, id .. ':l', lines)
return {'OK'}
