#!lua flags=allow-oom
-- did_deactivate: a DID ends for good: its keys are destroyed, a tombstone keeps its name.
-- from: any
-- to: any
-- keys: did vault made
-- args: org expected result memory_s
-- replies: OK ALREADY MISSING FOREIGN DEACTIVATED CONFLICT
local before = redis.call('GET', made)
if before then return {'ALREADY', before} end
local found = redis.call('HMGET', did, 'org', 'version', 'deactivated')
redis.call('HLEN', vault)
if not found[1] then return {'MISSING'} end
if found[1] ~= org then return {'FOREIGN'} end
if found[3] then return {'DEACTIVATED'} end
if expected ~= '' and found[2] ~= expected then return {'CONFLICT', found[2]} end
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
redis.call('HSET', did, 'version', found[2] + 1, 'deactivated', now, 'updated', now)
redis.call('HDEL', did, 'state', 'document')
redis.call('DEL', vault)
redis.call('HSET', vault, 'org', org, 'gone', now)
redis.call('SET', made, result, 'EX', memory_s)
return {'OK', result}
