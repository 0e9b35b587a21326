#!lua flags=allow-oom
-- open: the first touch of a queue by a process; says which layout its keys have.
-- from: any
-- to: any
-- keys: meta
-- args: layout
-- replies: OK
redis.call('HSETNX', meta, 'layout', layout)
return {'OK', redis.call('HGET', meta, 'layout')}
