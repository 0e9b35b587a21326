#!lua flags=allow-oom
-- canary_take: the right to decide about a canary, for `lease_ms`. A lease that would end later than that
--   was taken by a later clock and holds no more.
-- from: any
-- to: any
-- keys: lease
-- args: token lease_ms
-- replies: OK HELD
local holder, left_ms = redis.call('GET', lease), redis.call('PTTL', lease)
if holder and holder ~= token and left_ms <= tonumber(lease_ms) then return {'HELD'} end
redis.call('SET', lease, token, 'PX', lease_ms)
return {'OK'}
