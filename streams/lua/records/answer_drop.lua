#!lua flags=allow-oom
-- answer_drop: a request under an idempotency key did not succeed; the key is free again.
-- from: any
-- to: any
-- keys: answer
-- args: nonce
-- replies: OK LOST
local found = redis.call('HMGET', answer, 'nonce', 'said')
if found[2] or found[1] and found[1] ~= nonce then return {'LOST'} end
redis.call('DEL', answer)
return {'OK'}
