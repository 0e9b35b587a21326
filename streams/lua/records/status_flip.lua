#!lua flags=allow-oom
-- status_flip: set or clear a credential's bit in one list, with the operator's deed beside it.
--   FINAL: it is revoked, for good; nothing about it changes any more (I5).
--   LATE: the job that would publish the change if nobody else did may be gone by now.
--   answers OK or SAME, the list's version, the version that is published
-- from: any
-- to: any
-- keys: list bits revoked audit
-- args: index value revoked_index until_ms who
-- replies: OK SAME FINAL LATE MISSING
local facts = redis.call('HMGET', list, 'purpose', 'version', 'published')
if not facts[1] then return {'MISSING'} end
local final = facts[1] == 'revocation' and value == '0'
if facts[1] ~= 'revocation' and revoked_index ~= '' then
  final = redis.call('GETBIT', revoked, revoked_index) == 1
end
if final then return {'FINAL'} end
local published = tonumber(facts[3] or 0)
if redis.call('GETBIT', bits, index) == tonumber(value) then
  return {'SAME', tonumber(facts[2]), published}
end
local now = redis.call('TIME')
if now[1] * 1000 + math.floor(now[2] / 1000) > tonumber(until_ms) then return {'LATE'} end
redis.call('XLEN', audit)
redis.call('SETBIT', bits, index, value)
local version = redis.call('HINCRBY', list, 'version', 1)
redis.call('HSET', list, 'changed', now[1])
if who ~= '' then redis.call('XADD', audit, '*', 'a', who) end
return {'OK', version, published}
