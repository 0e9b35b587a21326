#!lua flags=allow-oom
-- batch_stored: all jobs of a batch are in their queue.
-- from: any
-- to: any
-- keys: batch
-- args:
-- replies: OK MISSING
if redis.call('EXISTS', batch) == 0 then return {'MISSING'} end
redis.call('HSET', batch, 'stored', 1)
return {'OK'}
