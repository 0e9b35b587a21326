#!lua flags=allow-oom
-- leave: a worker that stops takes its name off; a consumer with pending entries stays for reclaim.
-- from: any
-- to: any
-- keys: @lanes workers
-- args: worker
-- replies: OK PENDING
redis.call('HDEL', workers, worker)
local left = 0
for n = -1, 10 do
  local mine = redis.pcall('XPENDING', KEYS[n + 2], 'workers', '-', '+', 1, worker)
  if not mine.err then left = left + #mine end
end
if left > 0 then return {'PENDING'} end
for n = -1, 10 do redis.pcall('XGROUP', 'DELCONSUMER', KEYS[n + 2], 'workers', worker) end
return {'OK'}
