#!lua flags=allow-oom
-- heartbeat: a worker says that it lives and what it runs.
-- from: any
-- to: any
-- keys: workers
-- args: worker info
-- replies: OK
local time = redis.call('TIME')
redis.call('HSET', workers, worker, time[1] * 1000 + math.floor(time[2] / 1000) .. ':' .. info)
return {'OK'}
