#!lua flags=allow-oom
-- refuse: a callback that cannot be queued becomes a dead letter, so that an operator sees it.
-- from: new
-- to: failed
-- keys: jobs dead events
-- args: id body message
-- replies: OK EXISTS
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if redis.call('HEXISTS', jobs, id) == 1 then return {'EXISTS'} end
redis.call('XLEN', dead); redis.call('XLEN', events)
local history = '[{"attempt":0,"reason":"callback","message":' .. message .. ',"at":' .. now .. '}]'
local grave = redis.call('XADD', dead, '*', 'j', id,
  'h', '2:5:0:0:0:1::::' .. now .. ':' .. now, 'b', body, 'x', history)
redis.call('HSET', jobs, id, 'f:' .. grave)
redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'failed', 'i', id)
return {'OK'}
