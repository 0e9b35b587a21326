#!lua flags=allow-oom
-- answer_drop: a request under an idempotency key did not succeed; the key is free again. Unless it
--   was refused, its plan stays: nobody knows how much of it was done.
-- from: any
-- to: any
-- keys: answer
-- args: nonce refused
-- replies: OK LOST
local found = redis.call('HMGET', answer, 'nonce', 'said', 'plan')
if found[2] or found[1] and found[1] ~= nonce then return {'LOST'} end
if found[3] and refused == '' then redis.call('HDEL', answer, 'nonce', 'until')
else redis.call('DEL', answer) end
return {'OK'}
