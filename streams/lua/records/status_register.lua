#!lua
-- status_register: write down which place in which list speaks for a credential, unless one does.
--   answers OK or ALREADY and the place that counts; TAKEN: the id is another issuer's credential
-- from: any
-- to: any
-- keys: credential
-- args: pool origin purpose place
-- replies: OK ALREADY TAKEN
local known = redis.call('HMGET', credential, 'pool', purpose)
if known[1] and known[1] ~= pool then return {'TAKEN'} end
if known[2] then return {'ALREADY', known[2]} end
if known[1] then
  redis.call('HSET', credential, purpose, place)
else
  redis.call('HSET', credential, 'pool', pool, 'origin', origin, purpose, place)
end
return {'OK', place}
