#!lua flags=allow-oom
-- answer_claim: a request under an idempotency key begins, unless it is being answered (RUNNING), has
--   been (ANSWERED, then what was said), or the key belongs to another one (DIFFERS).
-- from: any
-- to: any
-- keys: answer
-- args: digest nonce lease_ms
-- replies: OK RUNNING ANSWERED DIFFERS
local found = redis.call('HMGET', answer, 'digest', 'nonce', 'said')
if found[1] and found[1] ~= digest then return {'DIFFERS'} end
if found[3] then return {'ANSWERED', found[3]} end
if found[2] and found[2] ~= nonce then return {'RUNNING'} end
redis.call('HSET', answer, 'digest', digest, 'nonce', nonce)
redis.call('PEXPIRE', answer, lease_ms)
return {'OK'}
