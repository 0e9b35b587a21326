#!lua flags=allow-oom
-- dest_secret: replace the sealed signing keys of a destination (or of an organization), if nobody
--   has since they were read: `version` is what was read, 0 when there were none.
--   answers word, the version and the keys that are there now
-- from: any
-- to: any
-- keys: secret audit
-- args: version sealed who
-- replies: OK STALE
local known = redis.call('HMGET', secret, 'version', 'sealed')
redis.call('XLEN', audit)
local current = tonumber(known[1] or 0)
if current ~= tonumber(version) then return {'STALE', current, known[2] or ''} end
redis.call('HSET', secret, 'version', current + 1, 'sealed', sealed)
if who ~= '' then redis.call('XADD', audit, '*', 'a', who) end
return {'OK', current + 1, sealed}
