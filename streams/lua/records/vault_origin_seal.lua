#!lua flags=allow-oom
-- vault_origin_seal: the same for a key that an origin remembers because its run was cut off.
-- from: any
-- to: any
-- keys: origin
-- args: before after
-- replies: OK ALREADY CHANGED
local found = redis.call('GET', origin)
if found == after then return {'ALREADY'} end
if found ~= before then return {'CHANGED'} end
redis.call('SET', origin, after, 'KEEPTTL')
return {'OK'}
