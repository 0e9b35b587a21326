#!lua
-- status_register: write down which place in which list speaks for a credential of an organization,
--   unless one does. Fields begin with the scope of the organization: others use the same id freely.
--   answers OK or ALREADY and the place that counts; TAKEN: the id is another issuer's of this organization
-- from: any
-- to: any
-- keys: credential
-- args: scope pool origin purpose place
-- replies: OK ALREADY TAKEN
local known = redis.call('HMGET', credential, scope .. ':pool', scope .. ':' .. purpose)
if known[1] and known[1] ~= pool then return {'TAKEN'} end
if known[2] then return {'ALREADY', known[2]} end
if not known[1] then redis.call('HSET', credential, scope .. ':pool', pool, scope .. ':origin', origin) end
redis.call('HSET', credential, scope .. ':' .. purpose, place)
return {'OK', place}
