#!lua flags=allow-oom
-- heartbeat: a worker says that it lives, how many jobs it can run and what it runs.
-- from: any
-- to: any
-- keys: workers beats
-- args: worker slots info
-- replies: OK
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HLEN', beats)
redis.call('HSET', workers, worker, now .. ':' .. info)
redis.call('HSET', beats, worker, now .. ':' .. slots)
return {'OK'}
