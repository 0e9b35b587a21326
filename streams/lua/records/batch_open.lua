#!lua
-- batch_open: a batch is written down before its jobs, or found as it was written before.
--   answers word, then created, expires (epoch ms), 1 if its jobs are all stored
-- from: any
-- to: any
-- keys: batch
-- args: queue org count digest ttl_ms
-- replies: OK ALREADY DIFFERS
if redis.call('EXISTS', batch) == 1 then
  local found = redis.call('HMGET', batch, 'digest', 'created', 'expires', 'stored')
  if found[1] ~= digest then return {'DIFFERS'} end
  return {'ALREADY', found[2], found[3], found[4] or '0'}
end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', batch, 'queue', queue, 'org', org, 'count', count, 'digest', digest,
  'created', now, 'expires', now + ttl_ms)
redis.call('PEXPIREAT', batch, now + ttl_ms)
return {'OK', now, now + ttl_ms, '0'}
