#!lua flags=allow-oom
-- dest_admit: may a delivery to this destination start now? A lease, a reason to wait, or no.
--   Places promised to jobs that were parked go to those alone (`returns`: the job was put off before).
--   `since`: who waits for an open circuit, and since when.
--   A lease is called `<job> <anything>`. A job that comes again while a lease of its own runs was
--   taken from a worker that died with it: the new lease takes the place of that one.
--   answers word, then: OK nothing; DEFER longest wait (ms), ms until it is worth looking for room,
--   reason; DISABLED reason detail
-- from: any
-- to: any
-- keys: about leases rate since
-- args: org origin job lease returns lease_ms limit rate_max rate_ms patience_ms open_ms forget_ms
-- replies: OK DEFER DISABLED
-- uses: room
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', about, 'state', 'until', 'probe', 'not_before', 'limit', 'rate_max',
  'rate_ms', 'promised', 'promised_until', 'kept', 'reason')
local held = redis.call('ZSCORE', leases, lease)
local function own(name) return string.sub(name, 1, #job + 1) == job .. ' ' end
local names, earlier = redis.call('ZRANGEBYSCORE', leases, '(' .. now, now + lease_ms), {}
for k = 1, #names do
  if own(names[k]) then earlier[#earlier + 1] = names[k] end
end
local has, waits = promised(now, known), redis.call('ZSCORE', since, job)
local free, reason, again, probes = room(now, known, #names - #earlier, own)
redis.call('ZCARD', rate)

if is_ahead(held, now, lease_ms + 0) then return {'OK'} end
if returns == '1' and has > 0 then redis.call('HINCRBY', about, 'promised', -1) end
if known[1] == 'disabled' then
  redis.call('ZREM', since, job)
  return {'DISABLED', 'destination_disabled', known[11] or ''}
end
if returns ~= '1' and not reason and free <= has then
  reason, again = probes and 'circuit_half_open' or 'concurrency', now + 1000
end

if reason then
  local circuit, wait_ms = string.sub(reason, 1, 7) == 'circuit', math.max(1, patience_ms + 0)
  if circuit and waits and now - waits > patience_ms + 0 then
    redis.call('ZREM', since, job)
    return {'DISABLED', 'destination_unavailable', ''}
  end
  if circuit then wait_ms = math.max(1, (waits or now) + patience_ms + 1 - now) end
  redis.call('HSET', about, 'org', org, 'origin', origin)
  redis.call('HINCRBY', about, 'deferred', 1)
  redis.call('HINCRBY', about, 'parked', 1)
  if circuit and not waits then
    redis.call('ZADD', since, now, job)
    redis.call('ZREMRANGEBYSCORE', since, '-inf', now - 2 * patience_ms)
    redis.call('PEXPIRE', since, 2 * patience_ms)
  end
  if not known[10] then redis.call('PEXPIRE', about, forget_ms) end
  return {'DEFER', wait_ms, math.min(math.max(again - now, 50), 30000), reason}
end

redis.call('HSET', about, 'org', org, 'origin', origin, 'seen', now)
if probes then redis.call('HSET', about, 'probe', lease) end
if not known[10] then redis.call('PEXPIRE', about, forget_ms) end
redis.call('ZREMRANGEBYSCORE', leases, '-inf', now)
if #earlier > 0 then redis.call('ZREM', leases, unpack(earlier)) end
redis.call('ZADD', leases, now + lease_ms, lease)
redis.call('PEXPIRE', leases, 2 * lease_ms)
local window = tonumber(known[7] or rate_ms)
if tonumber(known[6] or rate_max) > 0 then
  redis.call('ZREMRANGEBYSCORE', rate, '-inf', now - window)
  redis.call('ZADD', rate, now, lease)
  redis.call('PEXPIRE', rate, window)
end
if waits then redis.call('ZREM', since, job) end
return {'OK'}
