#!lua
-- access_create: an API key is entered; its secret is nowhere but in the hands of who asked.
--   `facts`: (field value)*, the digest of the secret among them. It may be repeated.
--   answers word, when it was made (epoch ms)
-- from: any
-- to: any
-- keys: key index audit
-- args: id digest who facts...
-- replies: OK TAKEN
-- uses: audit
local time = redis.call('TIME')
local now = string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000))
local known = redis.call('HMGET', key, 'digest', 'created')
redis.call('ZCARD', index); redis.call('XLEN', audit)
if known[1] then return {known[1] == digest and 'OK' or 'TAKEN', known[2]} end
redis.call('HSET', key, 'digest', digest, 'created', now, unpack(ARGV, facts))
redis.call('ZADD', index, now, id)
record('done')
return {'OK', now}
