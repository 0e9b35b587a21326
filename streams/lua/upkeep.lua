#!lua flags=no-writes
-- upkeep: which duties of a queue have work now, and in how many ms it is worth asking again (at most
--   `idle_ms`). A next time further off than its duty's interval is one of a later clock.
--   answers word, now, ms, names of duties
-- from: any
-- to: any
-- keys: @lanes completed dead expiry_completed expiry_dead gone outbox workers meta
-- args: promote_ms reclaim_ms prune_ms sweep_ms completed_ms completed_count failed_ms failed_count idle_ms
-- replies: OK
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local facts = redis.call('HMGET', meta, 'due', 'next:promote', 'next:reclaim', 'next:prune', 'next:sweep',
  'prune:completed', 'prune:dead')
local reply, next_ms = {'OK', now, 0}, idle_ms + 0
local function plan(duty, at, stored, interval)
  local earliest = tonumber(stored or 0)
  if earliest > at and earliest <= now + interval then at = earliest end
  if at <= now then reply[#reply + 1] = duty else next_ms = math.min(next_ms, at - now) end
end

local pending, has_entries = 0, redis.call('EXISTS', unpack(KEYS, 1, 13)) > 0
for n = 1, has_entries and 13 or 0 do
  local groups = redis.pcall('XINFO', 'GROUPS', KEYS[n])
  if not groups.err and groups[1] then pending = pending + groups[1][6] end
end

-- When the next ended job has to go, of those that prune has not walked past.
local function next_end(stream, expiry, own, age, count, cursor)
  local length = redis.call('XLEN', stream)
  if length == 0 then return math.huge end
  if count ~= '' and length - redis.call('ZCARD', expiry) > tonumber(count) then return 0 end
  local at = redis.call('ZRANGE', expiry, 0, 0, 'WITHSCORES')[2]
  at = at and at ~= 'inf' and tonumber(at) or math.huge
  local oldest = age ~= '' and redis.call('XRANGE', stream, cursor and '(' .. cursor or '-', '+', 'COUNT', 1)[1]
  if not oldest then return at end
  local flags, finished = string.match(oldest[2][4], '^' .. string.rep('[^:]*:', 6)
    .. '(%w*):[^:]*:[^:]*:[^:]*:(%d+)')
  return string.find(flags, own) and 0 or math.min(at, finished + age)
end
local forgotten = string.match(redis.call('LRANGE', gone, 0, 0)[1] or '', '^%d+')
local ends = math.min(forgotten and forgotten + 600000 or math.huge,
  next_end(completed, expiry_completed, '[AK]', completed_ms, completed_count, facts[6]),
  next_end(dead, expiry_dead, '[XL]', failed_ms, failed_count, facts[7]))

if facts[1] then plan('promote', tonumber(facts[1]), facts[2], promote_ms) end
if pending > 0 then plan('reclaim', 0, facts[3], reclaim_ms) end
if redis.call('XLEN', outbox) > 0 then reply[#reply + 1] = 'relay' end
if ends < math.huge then plan('prune', ends, facts[4], prune_ms) end
if has_entries or redis.call('HLEN', workers) > 0 then plan('sweep', 0, facts[5], sweep_ms) end
reply[3] = math.floor(next_ms)
return reply
