#!lua flags=allow-oom
-- answer_keep: what a request under an idempotency key was answered. LOST: its claim had run out, and
--   somebody else has the key.
-- from: any
-- to: any
-- keys: answer
-- args: digest nonce said keep_ms
-- replies: OK LOST
local holder = redis.call('HGET', answer, 'nonce')
if holder and holder ~= nonce then return {'LOST'} end
redis.call('HSET', answer, 'digest', digest, 'nonce', nonce, 'said', said)
redis.call('HDEL', answer, 'plan', 'until')
redis.call('PEXPIRE', answer, keep_ms)
return {'OK'}
