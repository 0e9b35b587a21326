#!lua flags=allow-oom
-- promote: delayed jobs that are due become waiting.
-- from: delayed
-- to: waiting
-- keys: @lanes lanes jobs delayed delayed_jobs wake meta
-- args: interval_ms
-- replies: OK SKIP
-- uses: unpack promote
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(redis.call('HGET', meta, 'next:promote') or 0) > now then return {'SKIP', 0} end
redis.call('ZCARD', lanes); redis.call('HLEN', jobs); redis.call('ZCARD', wake)
local count = raise(now)
if interval_ms ~= '0' then redis.call('HSET', meta, 'next:promote', now + interval_ms) end
if count > 0 then redis.call('ZADD', wake, 0, '1') end
return {'OK', count}
