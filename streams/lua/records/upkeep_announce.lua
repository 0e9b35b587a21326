#!lua flags=allow-oom
-- upkeep_announce: what the workers of a queue go by, for schedulers; '' when the catalogue says it.
--   A queue that was not in the index is due at once.
-- from: any
-- to: any
-- keys: due specs
-- args: queue spec
-- replies: OK
redis.call('ZCARD', due)
if spec == '' then redis.call('HDEL', specs, queue) else redis.call('HSET', specs, queue, spec) end
local time = redis.call('TIME')
redis.call('ZADD', due, 'NX', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), queue)
return {'OK'}
