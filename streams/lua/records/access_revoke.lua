#!lua flags=allow-oom
-- access_revoke: an API key is valid no more. It stays in the index: who it was remains known.
-- from: any
-- to: any
-- keys: key audit
-- args: who
-- replies: OK ALREADY MISSING
-- uses: audit
local time = redis.call('TIME')
local known = redis.call('HMGET', key, 'digest', 'revoked')
redis.call('XLEN', audit)
if not known[1] then return {'MISSING'} end
if known[2] then return {'ALREADY'} end
redis.call('HSET', key, 'revoked', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)))
record('done')
return {'OK'}
