#!lua
-- did_update: publish the next version of a DID; the keys it gains and loses change with it.
-- from: any
-- to: any
-- keys: did vault made
-- args: org expected state document kid result memory_s adds rest...
-- replies: OK ALREADY MISSING FOREIGN DEACTIVATED CONFLICT
local before = redis.call('GET', made)
if before then return {'ALREADY', before} end
local found = redis.call('HMGET', did, 'org', 'version', 'deactivated')
redis.call('HLEN', vault)
if not found[1] then return {'MISSING'} end
if found[1] ~= org then return {'FOREIGN'} end
if found[3] then return {'DEACTIVATED'} end
if found[2] ~= expected then return {'CONFLICT', found[2]} end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', did, 'version', expected + 1, 'state', state, 'document', document,
  'updated', now)
redis.call('HSET', vault, 'kid', kid)
-- rest: `adds` pairs of key id and seal, then the ids of the keys that go.
local gone = rest + adds * 2
for n = rest, gone - 1, 2 do redis.call('HSET', vault, 'jwe:' .. ARGV[n], ARGV[n + 1]) end
for n = gone, #ARGV do redis.call('HDEL', vault, 'jwe:' .. ARGV[n]) end
redis.call('SET', made, result, 'EX', memory_s)
return {'OK', result}
