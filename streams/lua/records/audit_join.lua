#!lua flags=allow-oom
-- audit_join: a stream of deeds is in the index that readers go by, since now.
-- from: any
-- to: any
-- keys: index
-- args: stream
-- replies: OK
local time = redis.call('TIME')
redis.call('ZADD', index, string.format('%.0f', time[1] * 1000 + math.floor(time[2] / 1000)), stream)
return {'OK'}
