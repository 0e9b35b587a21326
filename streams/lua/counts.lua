#!lua flags=no-writes
-- counts: how many jobs lie where, exactly, and what an operator asks next.
--   answers word, now, waiting, active, completed, failed, delayed, paused, live workers,
--   ms the oldest waiting job has waited (-1: none), max, duration, concurrency, due, outbox,
--   how many jobs workers have completed, and brought to a failure, from the first on
-- from: any
-- to: any
-- keys: @lanes delayed completed dead meta beats outbox
-- args: silent_ms
-- replies: OK
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local length, active, oldest = 0, 0, nil
for n = -1, 11 do
  local here = redis.call('XLEN', KEYS[n + 2])
  if here > 0 then
    local groups, last = redis.call('XINFO', 'GROUPS', KEYS[n + 2]), '-'
    local pending = 0
    if groups[1] then pending = groups[1][6]; last = '(' .. groups[1][8] end
    length, active = length + here, active + pending
    if here > pending then
      local first = redis.call('XRANGE', KEYS[n + 2], last, '+', 'COUNT', 1)[1]
      local since = first and tonumber(string.match(first[1], '^%d+'))
      if since and (not oldest or since < oldest) then oldest = since end
    end
  end
end
local alive, seen = 0, redis.call('HVALS', beats)
for k = 1, #seen do
  local at = tonumber(string.match(seen[k], '^%d+'))
  if math.abs(now - at) <= silent_ms + 0 then alive = alive + 1 end
end
local due = 0
for n = 0, 10 do due = due + redis.call('ZCOUNT', delayed, n * 1e13, n * 1e13 + now) end
local facts = redis.call('HMGET', meta, 'paused', 'max', 'duration', 'concurrency', 'ended:c', 'ended:f', 'backlog')
return {'OK', now, length - active, active, redis.call('XLEN', completed), redis.call('XLEN', dead),
  redis.call('ZCARD', delayed), facts[1] and 1 or 0, alive, oldest and math.max(0, now - oldest) or -1,
  facts[2] or '', facts[3] or '', facts[4] or '', due,
  redis.call('XLEN', outbox), facts[5] or '0', facts[6] or '0', facts[7] or ''}
