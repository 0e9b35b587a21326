#!lua flags=allow-oom
-- dest_schedule: how an organization's webhooks are tried again when they do not say.
-- from: any
-- to: any
-- keys: settings audit
-- args: schedule who
-- replies: OK ALREADY
local before = redis.call('HGET', settings, 'schedule') or 'standard'
redis.call('XLEN', audit)
if before == schedule then return {'ALREADY'} end
redis.call('HSET', settings, 'schedule', schedule)
redis.call('XADD', audit, '*', 'a', who)
return {'OK'}
