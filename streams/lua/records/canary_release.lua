#!lua flags=allow-oom
-- canary_release: whoever decided about a canary gives the lease back, unless it is another's now.
-- from: any
-- to: any
-- keys: lease
-- args: token
-- replies: OK LOST
local holder = redis.call('GET', lease)
if holder and holder ~= token then return {'LOST'} end
redis.call('DEL', lease)
return {'OK'}
