#!lua flags=allow-oom
-- audit_trim: deeds older than an age disappear from one stream, at most about 10,000 a call.
--   answers word, how many went, how many are left, 1 if there may be more
-- from: any
-- to: any
-- keys: audit
-- args: keep_ms
-- replies: OK
local time = redis.call('TIME')
local oldest = time[1] * 1000 + math.floor(time[2] / 1000) - keep_ms
redis.call('XLEN', audit)
local id = string.format('%.0f', math.max(0, oldest))
local went = redis.call('XTRIM', audit, 'MINID', '~', id, 'LIMIT', 10000)
-- Whole nodes of the stream are gone: what is left of the old ones lies in one node of 100 at most.
local more = went > 0 and 1 or 0
if went == 0 then went = redis.call('XTRIM', audit, 'MINID', id) end
return {'OK', went, redis.call('XLEN', audit), more}
