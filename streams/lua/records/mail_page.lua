#!lua flags=no-writes,allow-oom
-- mail_page: entries that hold now, first those that end first: id, end, text, id, end, text ...
-- from: any
-- to: any
-- keys: ends entries
-- args: first last
-- replies: OK
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local count = last - first + 1
local rows = redis.call(
  'ZRANGEBYSCORE', ends, '(' .. string.format('%.0f', now), '+inf', 'WITHSCORES',
  'LIMIT', first, count
)
local reply = {'OK'}
for at = 1, #rows, 2 do
  local entry = redis.call('HGET', entries, rows[at])
  if entry then
    reply[#reply + 1] = rows[at]
    reply[#reply + 1] = rows[at + 1]
    reply[#reply + 1] = entry
  end
end
return reply
