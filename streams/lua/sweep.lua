#!lua flags=allow-oom
-- sweep: repair what a crash or a foreign hand can leave: workers long gone, their consumers
--   (only with nothing pending), and orphans: delivered entries that are pending for nobody.
--   answers word, orphans moved to back, consumers removed
-- from: (orphaned)
-- to: waiting
-- keys: @lanes lanes jobs workers wake meta
-- args: silent_ms idle_ms interval_ms
-- replies: OK SKIP
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(redis.call('HGET', meta, 'next:sweep') or 0) > now then return {'SKIP', 0, 0} end
redis.call('ZCARD', lanes); redis.call('HLEN', jobs); redis.call('ZCARD', wake)
for n = -1, 10 do redis.call('XLEN', KEYS[n + 2]) end
local beats = redis.call('HGETALL', workers)
if interval_ms ~= '0' then redis.call('HSET', meta, 'next:sweep', now + interval_ms) end
for k = 1, #beats, 2 do
  if tonumber(string.match(beats[k + 1], '^%d+')) < now - silent_ms then redis.call('HDEL', workers, beats[k]) end
end
local orphans, removed = 0, 0
for n = -1, 10 do
  local key = KEYS[n + 2]
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  if not groups.err and groups[1] then
    local consumers = redis.call('XINFO', 'CONSUMERS', key, 'workers')
    for k = 1, #consumers do
      local c = consumers[k]
      if c[4] == 0 and c[6] > tonumber(idle_ms) and redis.call('HEXISTS', workers, c[2]) == 0 then
        redis.call('XGROUP', 'DELCONSUMER', key, 'workers', c[2])
        removed = removed + 1
      end
    end
    local cursor = redis.call('HGET', meta, 'sweep:' .. n) or '-'
    local page = redis.call('XRANGE', key, cursor, groups[1][8], 'COUNT', 500)
    local pending = {}
    if #page > 0 then
      local held = redis.call('XPENDING', key, 'workers', page[1][1], page[#page][1], 501)
      for k = 1, #held do pending[held[k][1]] = true end
    end
    for k = 1, #page do
      local entry, fields = page[k][1], page[k][2]
      if not pending[entry] then
        local mine = redis.call('HGET', jobs, fields[2]) == (n == -1 and 'b:' or n .. ':') .. entry
        if mine then
          redis.call('HSET', jobs, fields[2], 'b:' .. redis.call('XADD', KEYS[1], '*', unpack(fields)))
          orphans = orphans + 1
        end
        redis.call('XDEL', key, entry)
      end
    end
    redis.call('HSET', meta, 'sweep:' .. n, #page == 500 and '(' .. page[500][1] or '-')
  end
end
if orphans > 0 then
  redis.call('ZADD', lanes, -1, '-1')
  redis.call('ZADD', wake, 0, '1')
end
return {'OK', orphans, removed}
