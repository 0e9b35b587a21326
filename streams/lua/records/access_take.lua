#!lua flags=allow-oom
-- access_take: one more request within a quota, if there is room.
--   answers word, how many are left, ms until the quota is whole again. One that ends later than a
--   window from now was opened by a later clock and is whole.
-- from: any
-- to: any
-- keys: quota
-- args: most window_ms
-- replies: OK SPENT
local taken = tonumber(redis.call('GET', quota) or 0)
local left_ms = redis.call('PTTL', quota)
if left_ms < 0 or left_ms > tonumber(window_ms) then taken, left_ms = 0, tonumber(window_ms) end
if taken >= tonumber(most) then return {'SPENT', 0, left_ms} end
if taken == 0 then redis.call('SET', quota, 1, 'PX', left_ms)
else redis.call('INCR', quota) end
return {'OK', most - taken - 1, left_ms}
