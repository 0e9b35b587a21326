#!lua
-- status_open: a new list takes the place of a full one, for one purpose of one issuer.
--   answers word, the list to draw from
-- from: any
-- to: any
-- keys: pool lists
-- args: purpose full fresh
-- replies: OK ALREADY
local open = redis.call('HGET', pool, purpose)
if open and open ~= full then return {'ALREADY', open} end
redis.call('SCARD', lists)
redis.call('SADD', lists, fresh)
redis.call('HSET', pool, purpose, fresh)
return {'OK', fresh}
