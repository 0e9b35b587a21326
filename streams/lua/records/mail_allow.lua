#!lua flags=allow-oom
-- mail_allow: take an address off the list; the deed is recorded if the address was on it.
-- from: any
-- to: any
-- keys: ends entries audit
-- args: id who
-- replies: OK MISSING
local listed = redis.call('HEXISTS', entries, id) == 1
if not redis.call('ZSCORE', ends, id) and not listed then return {'MISSING'} end
redis.call('XLEN', audit)
if who ~= '' then redis.call('XADD', audit, '*', 'a', who) end
redis.call('ZREM', ends, id)
redis.call('HDEL', entries, id)
return {'OK'}
