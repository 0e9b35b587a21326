#!lua flags=allow-oom
-- canary_note: whoever holds the lease writes down how far a canary is, and holds it on.
-- from: any
-- to: any
-- keys: canary lease
-- args: token said lease_ms
-- replies: OK LOST MISSING
if redis.call('GET', lease) ~= token then return {'LOST'} end
if not redis.call('SET', canary, said, 'XX', 'KEEPTTL') then return {'MISSING'} end
redis.call('PEXPIRE', lease, lease_ms)
return {'OK'}
