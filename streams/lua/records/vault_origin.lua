#!lua
-- vault_origin: remember what an origin made first, or answer what it made before.
-- from: any
-- to: any
-- keys: origin
-- args: made memory_s
-- replies: OK ALREADY
local before = redis.call('GET', origin)
if before then return {'ALREADY', before} end
redis.call('SET', origin, made, 'EX', memory_s)
return {'OK', made}
