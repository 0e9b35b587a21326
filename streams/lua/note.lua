#!lua flags=allow-oom
-- note: a running job reports progress (kind p), remembers a value for its next run (m), or adds a
--   line to its log (l) or to the records of its attempts (a), of which the last `most` lines and
--   `room` bytes are kept. Refused for a claim that is no longer held.
-- from: active
-- to: active
-- keys: jobs run events
-- args: id place kind value most room
-- replies: OK LOST
if redis.call('HGET', jobs, id) ~= place then return {'LOST'} end
redis.call('XLEN', events)
local field = id .. ':' .. kind
local lines = redis.call('HGET', run, field)
if kind == 'p' or kind == 'm' then
  redis.call('HSET', run, field, value)
  if kind == 'p' then redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'progress', 'i', id) end
  return {'OK'}
end
most, room = tonumber(most), tonumber(room)
lines = lines and lines .. '\n' .. value or value
local _, count = string.gsub(lines, '\n', '')
while count >= most or #lines > room and count > 0 do
  lines, count = string.sub(lines, string.find(lines, '\n', 1, true) + 1), count - 1
end
redis.call('HSET', run, field, lines)
return {'OK'}
