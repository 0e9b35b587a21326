#!lua flags=allow-oom
-- reclaim: jobs whose worker fell silent go back to waiting; after max_stalls to the dead letters.
--   answers word, count moved, 1 if there may be more, how many of them were buried as stalled,
--   and how many as cancelled
-- from: active
-- to: waiting failed
-- keys: @lanes lanes jobs dead outbox cancel expiry_dead blobs run gone gone_jobs events wake meta
-- args: lease_ms max_stalls interval_ms most
-- replies: OK SKIP
-- uses: lay bury tell
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if tonumber(redis.call('HGET', meta, 'next:reclaim') or 0) > now then return {'SKIP', 0, 0, 0, 0} end
redis.call('ZCARD', lanes); redis.call('HLEN', jobs); redis.call('XLEN', dead); redis.call('XLEN', outbox)
redis.call('ZCARD', expiry_dead); redis.call('HLEN', blobs); redis.call('HLEN', run)
redis.call('ZCARD', gone); redis.call('HLEN', gone_jobs); redis.call('XLEN', events); redis.call('ZCARD', wake)
local marks = redis.call('HLEN', cancel) > 0
for n = -1, 10 do redis.call('XLEN', KEYS[n + 2]) end
if interval_ms ~= '0' then redis.call('HSET', meta, 'next:reclaim', now + interval_ms) end

local room, scanned, moved, buried, cancels = most + 0, 0, {}, {}, 0
for n = -1, 10 do
  local key, field = KEYS[n + 2], 'reclaim:' .. n
  local cursor = redis.call('HGET', meta, field) or '0-0'
  local first = cursor
  while room > 0 and scanned < 10000 do
    local found = redis.pcall('XAUTOCLAIM', key, 'workers', '~reclaim', lease_ms, cursor, 'COUNT',
      math.min(room, 100), 'JUSTID')
    if found.err then cursor = '0-0'; break end
    cursor, scanned = found[1], scanned + 1000
    for e = 1, #found[2] do
      local entry = found[2][e]
      local fields = redis.call('XRANGE', key, entry, entry)[1][2]
      local id = fields[2]
      local front, started, stalled, middle, rest = string.match(fields[4],
        '^(%d+:%d+:%d+:)(%d+):(%d+)(:%d+:%w*:)%d*:[^:]*(.*)$')
      local cancelled = marks and redis.call('HEXISTS', cancel, id) == 1
      if cancelled then
        fields[4] = front .. started + 1 .. string.sub(fields[4], #front + #started + 1)
        cancels = cancels + 1
        bury(n, entry, fields, 'cancelled', 'cancelled', now)
      elseif stalled + 1 >= tonumber(max_stalls) then
        bury(n, entry, fields, 'stalled', 'its workers died or fell silent ' .. stalled + 1 .. ' times', now)
      end
      if cancelled or stalled + 1 >= tonumber(max_stalls) then buried[#buried + 1] = id
      else
        fields[4] = front .. started + 1 .. ':' .. stalled + 1 .. middle .. ':~' .. n .. '.' .. entry .. rest
        redis.call('HSET', jobs, id, 'b:' .. redis.call('XADD', KEYS[1], '*', unpack(fields)))
        redis.call('XACK', key, 'workers', entry)
        redis.call('XDEL', key, entry)
        moved[#moved + 1] = id
      end
      room = room - 1
    end
    if cursor == '0-0' then break end
  end
  if cursor ~= first then redis.call('HSET', meta, field, cursor) end
end
if #moved > 0 then redis.call('ZADD', lanes, -1, '-1') end
if #moved + #buried > 0 then redis.call('ZADD', wake, 0, '1') end
tell('stalled', moved)
tell('failed', buried)
local more = room <= 0 or scanned >= 10000
if more and interval_ms ~= '0' then redis.call('HDEL', meta, 'next:reclaim') end
return {'OK', #moved + #buried, more and 1 or 0, #buried - cancels, cancels}
