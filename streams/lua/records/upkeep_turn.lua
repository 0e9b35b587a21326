#!lua flags=allow-oom
-- upkeep_turn: queues that a scheduler has looked at get their next time, unless it was brought
--   forward meanwhile; then at most `most` queues that are due are handed to it, and to no other
--   scheduler for `hold_ms`. A time more than an hour off is one of a later clock.
--   looks: (queue ms)*; answers word, ms until the next queue is due, then queue, spec ('': none) pairs
-- from: any
-- to: any
-- keys: due specs
-- args: most hold_ms looks...
-- replies: OK
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local function at(ms) return string.format('%.0f', now + ms) end
redis.call('HLEN', specs)
for i = looks, #ARGV, 2 do
  local stored = redis.call('ZSCORE', due, ARGV[i])
  if stored and tonumber(stored) > now then redis.call('ZADD', due, at(ARGV[i + 1]), ARGV[i]) end
end
local reply, names = {'OK', 3600000}, {}
if most ~= '0' then
  names = redis.call('ZRANGEBYSCORE', due, '-inf', now, 'LIMIT', 0, most)
  local late = redis.call('ZRANGEBYSCORE', due, '(' .. at(3600000), '+inf', 'LIMIT', 0, most)
  for k = 1, math.min(#late, most - #names) do names[#names + 1] = late[k] end
end
local found = names[1] and redis.call('HMGET', specs, unpack(names)) or {}
for k = 1, #names do
  redis.call('ZADD', due, at(hold_ms), names[k])
  reply[#reply + 1] = names[k]; reply[#reply + 1] = found[k] or ''
end
local head = redis.call('ZRANGE', due, 0, 0, 'WITHSCORES')[2]
if head then reply[2] = math.max(0, math.floor(head - now)) end
return reply
