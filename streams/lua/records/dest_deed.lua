#!lua flags=allow-oom
-- dest_deed: a deed whose effects are many scripts, or none (a secret was looked at). Written once:
--   `nonce` tells a repetition from a second deed.
-- from: any
-- to: any
-- keys: audit
-- args: who nonce
-- replies: OK ALREADY
local last = redis.call('XREVRANGE', audit, '+', '-', 'COUNT', 1)[1]
if last and last[2][4] == nonce then return {'ALREADY'} end
redis.call('XADD', audit, '*', 'a', who, 'n', nonce)
return {'OK'}
