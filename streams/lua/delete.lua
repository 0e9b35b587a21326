#!lua flags=allow-oom
-- delete: a queue disappears with everything it has but its audit record, in one step: memory is freed
--   in the background. `mode` is check (nothing is done), delete, or force; BUSY: jobs are active or
--   workers live, unless it is forced.
--   answers OK and how many keys there were, or BUSY, active jobs, live workers
-- from: any
-- to: (gone)
-- keys: @lanes audit beats @rest
-- args: silent_ms mode who
-- replies: OK BUSY
-- uses: audit
redis.call('XLEN', audit)
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local active, alive = 0, 0
for n = 1, 13 do
  local groups = redis.pcall('XINFO', 'GROUPS', KEYS[n])
  if not groups.err and groups[1] then active = active + groups[1][6] end
end
local seen = redis.call('HVALS', beats)
for k = 1, #seen do
  if math.abs(now - string.match(seen[k], '^%d+')) <= silent_ms + 0 then alive = alive + 1 end
end
if mode ~= 'force' and active + alive > 0 then return {'BUSY', active, alive} end
local all = {unpack(KEYS, 15)}
for n = 1, 13 do all[#all + 1] = KEYS[n] end
local count = redis.call(mode == 'check' and 'EXISTS' or 'UNLINK', unpack(all))
if count > 0 and mode ~= 'check' then record('done') end
return {'OK', count}
