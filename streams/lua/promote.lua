#!lua flags=allow-oom
-- promote: delayed jobs that are due become waiting, the most urgent first.
--   answers word, count, 1 if more are due. A next time beyond the interval is one of a later clock.
-- from: delayed
-- to: waiting
-- keys: @lanes lanes jobs delayed delayed_jobs wake meta
-- args: interval_ms
-- replies: OK SKIP
-- uses: unpack lane promote
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local at = tonumber(redis.call('HGET', meta, 'next:promote') or 0)
if at > now and at <= now + interval_ms then return {'SKIP', 0, 0} end
redis.call('ZCARD', lanes); redis.call('HLEN', jobs); redis.call('ZCARD', wake)
local count, next_due = raise(now)
local more = next_due == 0
if interval_ms ~= '0' and not more then redis.call('HSET', meta, 'next:promote', now + interval_ms) end
if count > 0 then redis.call('ZADD', wake, 0, '1') end
return {'OK', count, more and 1 or 0}
