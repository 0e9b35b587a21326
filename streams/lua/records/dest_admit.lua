#!lua flags=allow-oom
-- dest_admit: may a delivery to this destination start now? A lease, a time to come back, or no.
--   Whoever has to come back gets a time of its own, as far from the next one as a slot takes to
--   become free: as deliveries take lately (`mean`), or as long as the youngest has been running.
--   So a thousand deferred jobs do not come at once. `since`: who waits for an open circuit.
--   A lease is called `<job> <anything>`. A job that comes again while a lease of its own runs was
--   taken from a worker that died with it: the new lease takes the place of that one.
--   answers word, then: OK nothing; DEFER after_ms reason; DISABLED reason detail
-- from: any
-- to: any
-- keys: about leases rate since
-- args: org origin job lease lease_ms limit rate_max rate_ms patience_ms spread_ms most_ms forget_ms
-- replies: OK DEFER DISABLED
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', about, 'state', 'reason', 'until', 'probe', 'not_before', 'pace',
  'mean', 'limit', 'rate_max', 'rate_ms', 'kept')
local state = known[1] or 'closed'
local most = tonumber(known[8] or limit)
local per, window = tonumber(known[9] or rate_max), tonumber(known[10] or rate_ms)
local held = redis.call('ZSCORE', leases, lease)
local function own(name) return string.sub(name, 1, #job + 1) == job .. ' ' end
local names, earlier = redis.call('ZRANGEBYSCORE', leases, '(' .. now, '+inf'), {}
for k = 1, #names do
  if own(names[k]) then earlier[#earlier + 1] = names[k] end
end
local running = #names - #earlier
local started = redis.call('ZCOUNT', rate, '(' .. now - window, '+inf')
local waits = redis.call('ZSCORE', since, job)
local youngest = redis.call('ZRANGE', leases, -1, -1, 'WITHSCORES')[2]

if held and held + 0 > now then return {'OK'} end
if state == 'disabled' then
  redis.call('ZREM', since, job)
  return {'DISABLED', 'destination_disabled', known[2] or ''}
end

local floor, reason, probing = 0, nil, false
if known[5] and known[5] + 0 > now then
  floor, reason = known[5] + 0, 'retry_after'
elseif state == 'open' then
  local ends = known[4] and redis.call('ZSCORE', leases, known[4])
  if known[3] + 0 > now then floor, reason = known[3] + 0, 'circuit_open'
  elseif ends and ends + 0 > now and not own(known[4]) then reason = 'circuit_half_open'
  else probing = true end
end
if not reason and running >= most then reason = 'concurrency' end
if not reason and per > 0 and started >= per then
  local oldest = redis.call('ZRANGEBYSCORE', rate, '(' .. now - window, '+inf', 'WITHSCORES',
    'LIMIT', started - per, 1)
  floor, reason = oldest[2] + window, 'rate'
end

if reason then
  local circuit = string.sub(reason, 1, 7) == 'circuit'
  if circuit and waits and now - waits > patience_ms + 0 then
    redis.call('ZREM', since, job)
    return {'DISABLED', 'destination_unavailable', ''}
  end
  local age = running > 0 and now - (youngest - lease_ms) or 0
  local takes = math.max(20, age, tonumber(known[7] or 0))
  local from, step = math.max(now + 20, floor), math.max(1, 0.8 * takes / most)
  local at = math.max(from, tonumber(known[6] or 0)) + step
  if at - from > spread_ms + 0 then at = from + step end
  redis.call('HSET', about, 'org', org, 'origin', origin, 'pace', string.format('%.0f', at))
  redis.call('HINCRBY', about, 'deferred', 1)
  if circuit and not waits then
    redis.call('ZADD', since, now, job)
    redis.call('ZREMRANGEBYSCORE', since, '-inf', now - 2 * patience_ms)
    redis.call('PEXPIRE', since, 2 * patience_ms)
  end
  if not known[11] then redis.call('PEXPIRE', about, forget_ms) end
  return {'DEFER', math.min(math.ceil(at) - now, most_ms + 0), reason}
end

redis.call('HSET', about, 'org', org, 'origin', origin, 'seen', now)
if probing then redis.call('HSET', about, 'probe', lease) end
if not known[11] then redis.call('PEXPIRE', about, forget_ms) end
redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
if #earlier > 0 then redis.call('ZREM', leases, unpack(earlier)) end
redis.call('ZADD', leases, now + lease_ms, lease)
redis.call('PEXPIRE', leases, 2 * lease_ms)
if per > 0 then
  redis.call('ZREMRANGEBYSCORE', rate, '-inf', now - window)
  redis.call('ZADD', rate, now, lease)
  redis.call('PEXPIRE', rate, window)
end
if waits then redis.call('ZREM', since, job) end
return {'OK'}
