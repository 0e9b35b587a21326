#!lua flags=allow-oom
-- claim: hand waiting jobs to a worker, in strict priority, never more than it wants.
--   answers word, now, ms until asking again is worth it (-1: unknown), then lane, entries pairs, and
--   `dead` with the reasons of jobs buried on the way
-- from: waiting delayed
-- to: active failed
-- keys: @lanes lanes jobs delayed delayed_jobs wake cancel limit meta events dead outbox expiry_dead blobs run gone gone_jobs
-- args: worker want
-- replies: OK PAUSED LIMITED FULL
-- uses: unpack promote lay bury
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local room = want + 0
local state = redis.call('HMGET', meta, 'paused', 'max', 'duration', 'granted', 'concurrency', 'due')
if state[1] then return {'PAUSED', now, -1} end

local max, expired, granted = tonumber(state[2]), 0, tonumber(state[4] or 0)
if max then
  local grants, next_ms = redis.call('LRANGE', limit, 0, 199), nil
  for k = 1, #grants do
    local at, count = string.match(grants[k], '^(%d+):(%d+)$')
    if at + state[3] > now then next_ms = at + state[3] - now; break end
    expired, granted = k, granted - count
  end
  room = math.min(room, max - granted)
  if room <= 0 then
    if expired > 0 then redis.call('LTRIM', limit, expired, -1); redis.call('HSET', meta, 'granted', granted) end
    return {'LIMITED', now, next_ms or 1}
  end
end
if state[5] then
  local active = 0
  for n = -1, 10 do
    local groups = redis.pcall('XINFO', 'GROUPS', KEYS[n + 2])
    if groups[1] then active = active + groups[1][6] end
  end
  room = math.min(room, state[5] - active)
  if room <= 0 then return {'FULL', now, -1} end
end

local head, next_ms = tonumber(state[6]), -1
local due = head and head <= now
local marks, waiting = redis.call('HLEN', cancel) > 0, redis.call('ZRANGE', lanes, 0, -1)
if due or waiting[1] then
  for k = 1, #waiting do redis.call('XLEN', KEYS[waiting[k] + 2]) end
  redis.call('HLEN', jobs); redis.call('ZCARD', wake); redis.call('XLEN', events)
  redis.call('XLEN', dead); redis.call('XLEN', outbox); redis.call('ZCARD', expiry_dead)
  redis.call('HLEN', blobs); redis.call('HLEN', run); redis.call('ZCARD', gone); redis.call('HLEN', gone_jobs)
end
if due then
  redis.call('ZCARD', delayed)
  head, waiting = select(2, raise(now)), redis.call('ZRANGE', lanes, 0, -1)
end
if expired > 0 then redis.call('LTRIM', limit, expired, -1); redis.call('HSET', meta, 'granted', granted) end
if head then next_ms = math.max(0, head - now) end

local reply, ids, taken, buried, reasons = {'OK', now, next_ms}, {}, 0, {}, {}
for k = 1, #waiting do
  local lane, key = waiting[k], KEYS[waiting[k] + 2]
  repeat
    local read = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', room, 'STREAMS', key, '>')
    if read and read.err and string.find(read.err, 'NOGROUP', 1, true) then
      redis.pcall('XGROUP', 'CREATE', key, 'workers', '0', 'MKSTREAM')
      read = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', room, 'STREAMS', key, '>')
    end
    if read and read.err then if taken > 0 then break else return read end end
    local entries, kept = read and read[1][2] or {}, {}
    local drained = #entries < room
    for e = 1, #entries do
      local fields, reason = entries[e][2], nil
      local by = string.find(fields[4], 'E', 1, true)
        and string.match(fields[4], '^' .. string.rep('[^:]*:', 7) .. '(%d+)')
      if by and tonumber(by) <= now then reason = 'expired' end
      if marks and redis.call('HEXISTS', cancel, fields[2]) == 1 then reason = 'cancelled' end
      if reason then buried[#buried + 1] = fields[2]; reasons[#buried] = reason; bury(lane, entries[e][1], fields, reason, 'not started: ' .. reason, now)
      else kept[#kept + 1] = entries[e]; ids[#ids + 1] = fields[2] end
    end
    if drained then redis.call('ZREM', lanes, lane) end
    room, taken = room - #kept, taken + #kept
    if #kept > 0 then reply[#reply + 1] = lane; reply[#reply + 1] = kept end
  until drained or room == 0
  if room == 0 then break end
end

if taken > 0 then
  if max then
    redis.call('RPUSH', limit, now .. ':' .. taken); redis.call('HSET', meta, 'granted', granted + taken)
  end
  if room == 0 then redis.call('ZADD', wake, 0, '1') end
  for from = 1, #ids, 50 do
    redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'active', 'i',
      table.concat(ids, ' ', from, math.min(from + 49, #ids)))
  end
end
if #buried > 0 then reply[#reply + 1] = 'dead'; reply[#reply + 1] = reasons end
for from = 1, #buried, 50 do
  redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'failed', 'i',
    table.concat(buried, ' ', from, math.min(from + 49, #buried)))
end
return reply
