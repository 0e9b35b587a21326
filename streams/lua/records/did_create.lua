#!lua
-- did_create: publish a new DID together with its sealed key, unless its name was ever taken.
-- from: any
-- to: any
-- keys: did vault made
-- args: org state document kid jwe result memory_s
-- replies: OK ALREADY EXISTS DEACTIVATED
local before = redis.call('GET', made)
if before then return {'ALREADY', before} end
if redis.call('HEXISTS', did, 'deactivated') == 1 then return {'DEACTIVATED'} end
if redis.call('HLEN', did) + redis.call('HLEN', vault) > 0 then return {'EXISTS'} end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', did, 'org', org, 'version', 1, 'state', state, 'document', document,
  'created', now, 'updated', now)
redis.call('HSET', vault, 'org', org, 'kid', kid, 'jwe:' .. kid, jwe)
redis.call('SET', made, result, 'EX', memory_s)
return {'OK', result}
