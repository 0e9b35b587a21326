#!lua flags=allow-oom
-- dest_switch: an operator enables or disables a destination. Enabling forgets what was held
--   against it: openings, counted failures, a time it had asked for.
--   answers word, the state before
-- from: any
-- to: any
-- keys: about window history audit
-- args: to who forget_ms
-- replies: OK ALREADY MISSING
local known = redis.call('HMGET', about, 'origin', 'state', 'limit', 'rate_max', 'reason')
redis.call('HLEN', window); redis.call('XLEN', history); redis.call('XLEN', audit)
if not known[1] then return {'MISSING'} end
local state = known[2] or 'closed'
if to == 'disabled' and state == to and known[5] == 'operator' then return {'ALREADY', state} end
local before = redis.call('HMGET', about, 'openings', 'until', 'not_before')
if to == 'enabled' then
  if state == 'closed' and not (before[1] or before[2] or before[3]) then
    return {'ALREADY', state}
  end
  redis.call('HDEL', about, 'state', 'reason', 'until', 'openings', 'probe', 'not_before')
  redis.call('DEL', window)
  if not (known[3] or known[4]) then
    redis.call('HDEL', about, 'kept')
    redis.call('PEXPIRE', about, forget_ms)
  end
else
  redis.call('HSET', about, 'state', 'disabled', 'reason', 'operator', 'kept', 1)
  redis.call('PERSIST', about)
end
redis.call('XADD', history, 'MAXLEN', 50, '*', 'e', to, 'r', 'operator')
redis.call('PEXPIRE', history, forget_ms)
redis.call('XADD', audit, '*', 'a', who)
return {'OK', state}
