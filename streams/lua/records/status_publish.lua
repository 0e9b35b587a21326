#!lua flags=allow-oom
-- status_publish: the signed list of a version becomes the one that is served, never an older
--   over a newer one.
--   answers OK or OLDER, the version that is published
-- from: any
-- to: any
-- keys: list signed
-- args: version token ttl_ms
-- replies: OK OLDER MISSING
local facts = redis.call('HMGET', list, 'version', 'published')
if not facts[1] then return {'MISSING'} end
local published = tonumber(facts[2] or 0)
if published >= tonumber(version) then return {'OLDER', published} end
redis.call('HLEN', signed)
redis.call('HSET', signed, 'version', version, 'token', token, 'ttl_ms', ttl_ms)
redis.call('HSET', list, 'published', version)
return {'OK', tonumber(version)}
