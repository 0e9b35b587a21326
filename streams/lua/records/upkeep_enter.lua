#!lua flags=allow-oom
-- upkeep_enter: a queue is in the index; one that was not is due at once.
-- from: any
-- to: any
-- keys: due
-- args: queue
-- replies: OK
local time = redis.call('TIME')
redis.call('ZADD', due, 'NX', string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), queue)
return {'OK'}
