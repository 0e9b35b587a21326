#!lua flags=allow-oom
-- leave: a worker that stops takes its name off; a consumer with pending entries stays for reclaim.
-- from: any
-- to: any
-- keys: @lanes workers beats
-- args: worker
-- replies: OK PENDING
local left, grouped = 0, {}
for n = -1, 11 do
  local mine = redis.pcall('XPENDING', KEYS[n + 2], 'workers', '-', '+', 1, worker)
  if not mine.err then left = left + #mine; grouped[#grouped + 1] = KEYS[n + 2] end
end
redis.call('HLEN', beats)
redis.call('HDEL', workers, worker)
redis.call('HDEL', beats, worker)
if left > 0 then return {'PENDING'} end
for k = 1, #grouped do redis.call('XGROUP', 'DELCONSUMER', grouped[k], 'workers', worker) end
return {'OK'}
