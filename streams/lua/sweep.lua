#!lua flags=allow-oom
-- sweep: repair what a crash or a foreign hand can leave: workers long gone, their consumers
--   (only with nothing pending), and orphans: delivered entries that are pending for nobody.
--   One pass over the lanes may take several calls, each of about 1 MiB of records (a consumer counts as
--   500 bytes) and at most 500 records of a lane: where it stopped in each lane the next pass goes on.
--   answers word, orphans moved to back or to the suspects, consumers removed, 1 if the pass has not ended
-- from: (orphaned)
-- to: waiting
-- keys: @lanes lanes jobs workers beats wake meta
-- args: silent_ms idle_ms interval_ms
-- replies: OK SKIP
-- uses: walk lane
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', meta, 'next:sweep', 'sweep')
local next_ms = tonumber(state[1] or 0)
if next_ms > now and next_ms <= now + interval_ms then return {'SKIP', 0, 0, 0} end
redis.call('ZCARD', lanes); redis.call('HLEN', jobs); redis.call('ZCARD', wake); redis.call('HLEN', workers)
for n = -1, 11 do redis.call('XLEN', KEYS[n + 2]) end
local seen = redis.call('HGETALL', beats)
for k = 1, #seen, 2 do
  local at = tonumber(string.match(seen[k + 1], '^%d+'))
  if at < now - silent_ms or at > now + silent_ms then
    redis.call('HDEL', workers, seen[k]); redis.call('HDEL', beats, seen[k])
  end
end
local orphans, removed, targets, lane = 0, 0, {}, tonumber(state[2] or -1)
local function consumers(key)
  local found = redis.call('XINFO', 'CONSUMERS', key, 'workers')
  budget = budget - 500 * #found
  for k = 1, #found do
    local c = found[k]
    if c[4] == 0 and c[6] > tonumber(idle_ms) and redis.call('HEXISTS', beats, c[2]) == 0 then
      redis.call('XGROUP', 'DELCONSUMER', key, 'workers', c[2])
      removed = removed + 1
    end
  end
end
while lane <= 11 and budget > 0 do
  local key, name = KEYS[lane + 2], 'sweep:' .. lane
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  if not groups.err and groups[1] then
    local page, pending, last = {}, {}, nil
    for entry, fields in walk('XRANGE', key, redis.call('HGET', meta, name) or '-', groups[1][8], 500) do
      page[#page + 1] = {entry, fields}
      last = entry
    end
    local held = last and redis.call('XPENDING', key, 'workers', page[1][1], last, #page) or {}
    for k = 1, #held do pending[held[k][1]] = true end
    for k = 1, #page do
      local entry, fields = page[k][1], page[k][2]
      if not pending[entry] and not redis.call('XPENDING', key, 'workers', entry, entry, 1)[1] then
        if redis.call('HGET', jobs, fields[2]) == (lane == -1 and 'b:' or lane .. ':') .. entry then
          local target = lane_of(fields[4], '-1')
          local added = redis.call('XADD', KEYS[target + 2], '*', unpack(fields))
          redis.call('HSET', jobs, fields[2], (target == '-1' and 'b:' or target .. ':') .. added)
          orphans, targets[target] = orphans + 1, true
        end
        redis.call('XDEL', key, entry)
      end
    end
    redis.call('HSET', meta, name, cut and '(' .. last or '-')
    consumers(key)
  end
  lane = lane + 1
end
for target in pairs(targets) do redis.call('ZADD', lanes, target, target) end
if orphans > 0 then redis.call('ZADD', wake, 0, '1') end
if lane <= 11 then redis.call('HSET', meta, 'sweep', lane)
else
  redis.call('HDEL', meta, 'sweep')
  if interval_ms ~= '0' then redis.call('HSET', meta, 'next:sweep', now + interval_ms) end
end
return {'OK', orphans, removed, lane <= 11 and 1 or 0}
