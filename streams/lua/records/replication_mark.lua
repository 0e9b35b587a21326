#!lua flags=allow-oom
-- replication_mark: a write to wait for: replicas that have it have everything written before.
-- from: any
-- to: any
-- keys: marker
-- args:
-- replies: OK
redis.call('SET', marker, '1', 'PX', 60000)
return {'OK'}
