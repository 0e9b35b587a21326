#!lua flags=allow-oom
-- answer_plan: what a request under an idempotency key is about to do, before it does it; whoever takes
--   the request up again does just that. ALREADY: there is a plan, which follows.
-- from: any
-- to: any
-- keys: answer
-- args: digest nonce plan lease_ms keep_ms
-- replies: OK ALREADY LOST
local time = redis.call('TIME')
local ends = time[1] * 1000 + math.floor(time[2] / 1000) + lease_ms
local found = redis.call('HMGET', answer, 'nonce', 'plan')
if found[1] and found[1] ~= nonce then return {'LOST'} end
if found[2] then return {'ALREADY', found[2]} end
redis.call('HSET', answer, 'digest', digest, 'nonce', nonce, 'plan', plan,
  'until', string.format('%.0f', ends))
redis.call('PEXPIRE', answer, keep_ms)
return {'OK'}
