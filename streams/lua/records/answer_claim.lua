#!lua flags=allow-oom
-- answer_claim: a request under an idempotency key begins, unless it is being answered (RUNNING), has
--   been (ANSWERED, then what was said), or the key belongs to another one (DIFFERS). OK is followed by
--   the plan of an earlier request, which did not come to its end.
-- from: any
-- to: any
-- keys: answer
-- args: digest nonce lease_ms
-- replies: OK RUNNING ANSWERED DIFFERS
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found = redis.call('HMGET', answer, 'digest', 'nonce', 'said', 'until', 'plan')
if found[1] and found[1] ~= digest then return {'DIFFERS'} end
if found[3] then return {'ANSWERED', found[3]} end
local ends = tonumber(found[4] or now + 1)
if found[2] and found[2] ~= nonce and ends > now and ends <= now + lease_ms then return {'RUNNING'} end
redis.call('HSET', answer, 'digest', digest, 'nonce', nonce, 'until', string.format('%.0f', now + lease_ms))
if not found[5] then redis.call('PEXPIRE', answer, lease_ms) end
return {'OK', found[5] or ''}
