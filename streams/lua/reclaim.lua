#!lua flags=allow-oom
-- reclaim: jobs whose worker fell silent become suspects; one that was alone goes to the dead letters
--   after max_stalls, which are at least 3.
--   One pass over all claims may take several calls, each of at most `most` jobs, 1 MiB of records and
--   10,000 claims looked at; the next call begins where the last one ended.
--   answers word, count moved, 1 if the pass has not ended, how many of them were buried as stalled,
--   and how many as cancelled
-- from: active
-- to: waiting failed
-- keys: @lanes lanes jobs dead outbox cancel expiry_dead blobs run gone gone_jobs events wake meta
-- args: lease_ms max_stalls interval_ms most
-- replies: OK SKIP
-- uses: remember lay bury tell retime
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', meta, 'next:reclaim', 'reclaim', 'retime')
local next_ms = tonumber(state[1] or 0)
if next_ms > now and next_ms <= now + interval_ms then return {'SKIP', 0, 0, 0, 0} end
redis.call('ZCARD', lanes); redis.call('HLEN', jobs); redis.call('XLEN', dead); redis.call('XLEN', outbox)
redis.call('ZCARD', expiry_dead); redis.call('HLEN', blobs); redis.call('HLEN', run)
redis.call('LLEN', gone); redis.call('HLEN', gone_jobs); redis.call('XLEN', events); redis.call('ZCARD', wake)
local marks, pending = redis.call('HLEN', cancel) > 0, {}
for n = -1, 11 do
  local groups = redis.call('XLEN', KEYS[n + 2]) > 0 and redis.call('XINFO', 'GROUPS', KEYS[n + 2])
  pending[n] = groups and groups[1] and groups[1][6] or 0
end
local from = state[3] or next_ms > now + math.max(interval_ms, lease_ms) + 1000 and '-1 -'
if from then
  local left = retime(from)
  if left or interval_ms == '0' then redis.call('HDEL', meta, 'next:reclaim')
  else redis.call('HSET', meta, 'next:reclaim', now + interval_ms) end
  return {'OK', 0, left and 1 or 0, 0, 0}
end
if interval_ms ~= '0' then redis.call('HSET', meta, 'next:reclaim', now + interval_ms) end

local moved, buried, cancels, bytes, most_stalls = {}, {}, 0, 0, math.max(3, max_stalls)
local function take(n, entry)
  local fields = redis.call('XRANGE', KEYS[n + 2], entry, entry)[1][2]
  local id, front, started, stalled, middle, rest = fields[2], string.match(fields[4],
    '^(%d+:%d+:%d+:)(%d+):(%d+)(:%d+:%w*:)%d*:[^:]*(.*)$')
  for k = 1, #fields do bytes = bytes + #fields[k] end
  if n == 11 then redis.call('HDEL', meta, 'tester') end
  if marks and redis.call('HEXISTS', cancel, id) == 1 then
    fields[4] = front .. started + 1 .. string.sub(fields[4], #front + #started + 1)
    cancels, buried[#buried + 1] = cancels + 1, id
    bury(n, entry, fields, 'cancelled', 'cancelled', now)
  elseif n == 11 and stalled + 1 >= most_stalls then -- with two stalls it was handed out alone
    buried[#buried + 1] = id
    bury(n, entry, fields, 'stalled', 'its workers died or fell silent ' .. stalled + 1 .. ' times', now)
  else
    fields[4] = front .. started + 1 .. ':' .. stalled + 1 .. middle .. ':~' .. n .. '.' .. entry .. rest
    redis.call('HSET', jobs, id, '11:' .. redis.call('XADD', KEYS[13], '*', unpack(fields)))
    redis.call('XACK', KEYS[n + 2], 'workers', entry)
    redis.call('XDEL', KEYS[n + 2], entry)
    moved[#moved + 1] = id
  end
end

local n, cursor = string.match(state[2] or '', '^(%S+) (%S+)$')
local room, looks = most + 0, 10000
n, cursor = tonumber(n or -1), cursor or '0-0'
while n <= 11 and (pending[n] == 0 or room > 0 and looks > 0 and bytes < 1048576) do
  if pending[n] == 0 then n, cursor = n + 1, '0-0'
  else
    local count, e = math.min(room, 100), 0
    local found = redis.call('XAUTOCLAIM', KEYS[n + 2], 'workers', '~reclaim', lease_ms, cursor, 'COUNT', count, 'JUSTID')
    local entries = found[2]
    looks = looks - math.min(10 * count, pending[n]) -- it looks at ten claims for each it may take
    while e < #entries and bytes < 1048576 do
      e = e + 1
      take(n, entries[e])
    end
    room, cursor = room - e, entries[e + 1] or found[1]
    if e < #entries then
      local left = {'XCLAIM', KEYS[n + 2], 'workers', '~reclaim', 0, unpack(entries, e + 1)}
      left[#left + 1] = 'IDLE'; left[#left + 1] = lease_ms; left[#left + 1] = 'JUSTID'
      redis.call(unpack(left))
    elseif cursor == '0-0' then n = n + 1 end
  end
end
if #moved > 0 then redis.call('ZADD', lanes, 11, '11') end
if #moved + #buried > 0 then redis.call('ZADD', wake, 0, '1') end
tell('stalled', moved)
tell('failed', buried)
if n <= 11 then
  redis.call('HSET', meta, 'reclaim', n .. ' ' .. cursor)
  redis.call('HDEL', meta, 'next:reclaim')
elseif state[2] then redis.call('HDEL', meta, 'reclaim') end
return {'OK', #moved + #buried, n <= 11 and 1 or 0, #buried - cancels, cancels}
