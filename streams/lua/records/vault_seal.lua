#!lua flags=allow-oom
-- vault_seal: put other seals into one field, if it still holds those that were opened. A record
--   that counts its versions counts this one too, so that whoever read it before reads it again.
-- from: any
-- to: any
-- keys: vault
-- args: field before after
-- replies: OK ALREADY CHANGED
local known = redis.call('HMGET', vault, field, 'version')
if known[1] == after then return {'ALREADY'} end
if known[1] ~= before then return {'CHANGED'} end
local version = tonumber(known[2])
redis.call('HSET', vault, field, after)
if version then redis.call('HSET', vault, 'version', version + 1) end
return {'OK'}
