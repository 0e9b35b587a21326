#!lua flags=allow-oom
-- audit_trim: deeds older than an age disappear from one stream.
--   answers word, how many went, how many are left
-- from: any
-- to: any
-- keys: audit
-- args: keep_ms
-- replies: OK
local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - keep_ms
redis.call('XLEN', audit)
local went = redis.call('XTRIM', audit, 'MINID', string.format('%.0f', oldest))
return {'OK', went, redis.call('XLEN', audit)}
