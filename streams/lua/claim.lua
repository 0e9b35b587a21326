#!lua flags=allow-oom
-- claim: hand waiting jobs to a worker, in strict priority, never more than it wants, about 1 MiB of
--   records a call, after burying at most 100 on the way (then: ask again at once).
--   answers word, now, ms until asking again is worth it (-1: unknown), 1 if suspects wait and this worker
--   has the lease to run them, then lane, entries pairs, and
--   `dead` with the reasons of jobs buried on the way
-- from: waiting delayed
-- to: active failed
-- keys: @lanes lanes jobs delayed delayed_jobs wake cancel limit meta events dead outbox expiry_dead blobs run gone gone_jobs
-- args: worker want
-- replies: OK PAUSED LIMITED FULL
-- uses: unpack lane promote remember lay bury admit
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', meta, 'paused', 'max', 'duration', 'granted', 'concurrency', 'due', 'tester')
local ends = tonumber(string.match(state[7] or '', '^%d+') or 0)
local leased = ends > now and ends <= now + 30000
local function suspects()
  local length, groups = redis.call('XLEN', KEYS[13]), redis.pcall('XINFO', 'GROUPS', KEYS[13])
  local pending = groups[1] and groups[1][6] or 0
  return length - pending, pending
end
local spare = leased and (state[2] or state[5]) and suspects() > 0 and 1 or 0
local room, word, again_ms, charge = admit(now, want + 0, state, spare)
if word then return {word, now, again_ms, 0} end

local head, next_ms = tonumber(state[6]), -1
local due = head and head <= now
local marks, waiting = redis.call('HLEN', cancel) > 0, redis.call('ZRANGE', lanes, 0, -1)
if due or waiting[1] then
  for k = 1, #waiting do redis.call('XLEN', KEYS[waiting[k] + 2]) end
  redis.call('HLEN', jobs); redis.call('ZCARD', wake); redis.call('XLEN', events)
  redis.call('XLEN', dead); redis.call('XLEN', outbox); redis.call('ZCARD', expiry_dead)
  redis.call('HLEN', blobs); redis.call('HLEN', run); redis.call('LLEN', gone); redis.call('HLEN', gone_jobs)
end
if due then
  redis.call('ZCARD', delayed)
  head, waiting = select(2, raise(now)), redis.call('ZRANGE', lanes, 0, -1)
end
if head then next_ms = math.max(0, head - now) end

local reply, ids, taken, buried, reasons, bytes = {'OK', now, next_ms, 0}, {}, 0, {}, {}, 0
if waiting[#waiting] == '11' then
  waiting[#waiting] = nil
  local left, pending = suspects()
  if left == 0 then redis.call('ZREM', lanes, '11')
  elseif pending == 0 and not leased then
    redis.call('HSET', meta, 'tester', now + 30000 .. ' ' .. worker)
    reply[4] = 1
  end
end
for k = 1, #waiting do
  local lane, key = waiting[k], KEYS[waiting[k] + 2]
  local drained, mine = false, {}
  while not drained and room > 0 and #buried < 100 and bytes < 1048576 do
    local count = math.min(room, 64, 100 - #buried)
    local read = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', count, 'STREAMS', key, '>')
    if read and read.err and string.find(read.err, 'NOGROUP', 1, true) then
      redis.pcall('XGROUP', 'CREATE', key, 'workers', '0', 'MKSTREAM')
      read = redis.pcall('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', count, 'STREAMS', key, '>')
    end
    if read and read.err then if #ids > 0 then break else return read end end
    local entries = read and read[1][2] or {}
    drained = #entries < count
    for e = 1, #entries do
      local fields, reason = entries[e][2], nil
      local by = string.find(fields[4], 'E', 1, true)
        and string.match(fields[4], '^' .. string.rep('[^:]*:', 7) .. '(%d+)')
      if by and tonumber(by) <= now then reason = 'expired' end
      if marks and redis.call('HEXISTS', cancel, fields[2]) == 1 then reason = 'cancelled' end
      for f = 6, #fields, 2 do bytes = bytes + #fields[f] end
      if reason then
        buried[#buried + 1] = fields[2]; reasons[#buried] = reason
        bury(lane, entries[e][1], fields, reason, 'not started: ' .. reason, now)
      else mine[#mine + 1] = entries[e]; ids[#ids + 1] = fields[2]; room = room - 1 end
    end
  end
  if drained then redis.call('ZREM', lanes, lane) end
  if #mine > 0 then reply[#reply + 1] = lane; reply[#reply + 1] = mine; taken = taken + #mine end
  if room == 0 then break end
  if not drained then reply[3] = 0; break end
end

charge(taken)
if taken > 0 then
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
