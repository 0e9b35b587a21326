#!lua flags=allow-oom
-- renew: keep the lease of running jobs; also says what the worker should know about them.
--   jobs: (lane entry id)*
--   answers word, now, {index of each claim lost}, {index of each job to cancel},
--   {lane, entry of each claim this worker holds and did not name, if older than stray_ms}
-- from: active
-- to: active
-- keys: @lanes jobs cancel
-- args: worker stray_ms list...
-- replies: OK
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lost, cancelled, strays, named, by_lane = {}, {}, {}, {}, {}
local marks = redis.call('HLEN', cancel) > 0
local k = 0
for i = list, #ARGV, 3 do
  local lane, entry = ARGV[i], ARGV[i + 1]
  k = k + 1
  named[lane .. '.' .. entry] = k
  if not by_lane[lane] then by_lane[lane] = {} end
  table.insert(by_lane[lane], entry)
  if marks and redis.call('HEXISTS', cancel, ARGV[i + 2]) == 1 then cancelled[#cancelled + 1] = k end
end
for lane, entries in pairs(by_lane) do
  local call = {'XCLAIM', KEYS[lane + 2], 'workers', worker, 0}
  for e = 1, #entries do call[#call + 1] = entries[e] end
  call[#call + 1] = 'JUSTID'
  local kept, alive = redis.pcall(unpack(call)), {}
  if not kept.err then for e = 1, #kept do alive[kept[e]] = true end end
  for e = 1, #entries do
    if not alive[entries[e]] then lost[#lost + 1] = named[lane .. '.' .. entries[e]] end
  end
end
for n = -1, 10 do
  local mine = redis.pcall('XPENDING', KEYS[n + 2], 'workers', 'IDLE', stray_ms, '-', '+', 100, worker)
  if not mine.err then
    for e = 1, #mine do
      if not named[n .. '.' .. mine[e][1]] then strays[#strays + 1] = n; strays[#strays + 1] = mine[e][1] end
    end
  end
end
return {'OK', now, lost, cancelled, strays}
