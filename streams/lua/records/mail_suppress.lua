#!lua
-- mail_suppress: put an address on the list, or renew its entry; sheds entries that have ended.
--   answers word, since, end (epoch ms; inf: never). The deed is recorded unless it is a repetition.
-- from: any
-- to: any
-- keys: ends entries audit
-- args: id duration_ms nonce reason who
-- replies: OK ALREADY
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
local before, stored = redis.call('HGET', entries, id), redis.call('ZSCORE', ends, id)
local since, said
if before then since, said = string.match(before, '^(%d+):(%x+):') end
-- sent again because the reply was lost
if said == nonce and stored then return {'ALREADY', since, stored} end
local ending = 'inf'
if tonumber(duration_ms) > 0 then ending = string.format('%.0f', now + duration_ms) end
-- a renewed entry keeps its age, one that had ended begins anew
if not (since and stored and tonumber(stored) > now) then since = string.format('%.0f', now) end
local over = redis.call('ZRANGEBYSCORE', ends, '-inf', now, 'LIMIT', 0, 100)
redis.call('XLEN', audit)
if who ~= '' then redis.call('XADD', audit, '*', 'a', who) end
for _, gone in ipairs(over) do
  redis.call('ZREM', ends, gone)
  redis.call('HDEL', entries, gone)
end
redis.call('ZADD', ends, ending, id)
redis.call('HSET', entries, id, since .. ':' .. nonce .. ':' .. reason)
return {'OK', since, ending}
