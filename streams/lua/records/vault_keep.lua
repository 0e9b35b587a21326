#!lua
-- vault_keep: store the sealed key of a DID unless one is there.
-- from: any
-- to: any
-- keys: vault
-- args: org kid jwe
-- replies: OK ALREADY
if redis.call('EXISTS', vault) == 1 then return {'ALREADY'} end
redis.call('HSET', vault, 'org', org, 'kid', kid, 'jwe', jwe)
return {'OK'}
