#!lua flags=allow-oom
-- upkeep_hasten: a queue of the index is due now.
-- from: any
-- to: any
-- keys: due
-- args: queue
-- replies: OK
local time = redis.call('TIME')
redis.call('ZADD', due, 'XX', 'LT', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), queue)
return {'OK'}
