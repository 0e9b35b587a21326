#!lua flags=allow-oom
-- dest_limits: limits of one destination's own; an empty one returns to the installation's.
--   answers word
-- from: any
-- to: any
-- keys: about audit
-- args: limit rate_max rate_ms who forget_ms
-- replies: OK ALREADY MISSING
local known = redis.call('HMGET', about, 'origin', 'limit', 'rate_max', 'rate_ms', 'state')
redis.call('XLEN', audit)
if not known[1] then return {'MISSING'} end
if (known[2] or '') == limit and (known[3] or '') == rate_max and (known[4] or '') == rate_ms then
  return {'ALREADY'}
end
for name, value in pairs({limit = limit, rate_max = rate_max, rate_ms = rate_ms}) do
  if value == '' then redis.call('HDEL', about, name) else redis.call('HSET', about, name, value) end
end
if limit ~= '' or rate_max ~= '' or known[5] == 'disabled' then
  redis.call('HSET', about, 'kept', 1)
  redis.call('PERSIST', about)
else
  redis.call('HDEL', about, 'kept')
  redis.call('PEXPIRE', about, forget_ms)
end
redis.call('XADD', audit, '*', 'a', who)
return {'OK'}
