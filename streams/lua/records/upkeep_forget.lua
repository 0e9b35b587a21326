#!lua flags=allow-oom
-- upkeep_forget: a queue is no longer in the index.
-- from: any
-- to: any
-- keys: due specs
-- args: queue
-- replies: OK
redis.call('HLEN', specs)
redis.call('ZREM', due, queue)
redis.call('HDEL', specs, queue)
return {'OK'}
