#!lua flags=allow-oom
-- isolate: hand suspects to a process that runs nothing else: at most `want` that one worker died of, or
--   one that more died of, alone. One process does that at a time (`tester` in meta, 30 s from each call):
--   `worker`, or at first the one that started it, `parent`.
--   answers word, now, ms until asking again is worth it (-1: unknown), then lane, entries, and `dead`
--   with the reasons of jobs buried on the way
--   TAKEN: another process does it; WAIT: claims of suspects are pending; NONE: no suspects wait
-- from: waiting
-- to: active failed
-- keys: @lanes lanes jobs wake cancel limit meta events dead outbox expiry_dead blobs run gone gone_jobs
-- args: worker parent want
-- replies: OK PAUSED LIMITED FULL TAKEN WAIT NONE
-- uses: remember lay bury tell admit
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local state = redis.call('HMGET', meta, 'paused', 'max', 'duration', 'granted', 'concurrency', 'tester')
local ends, holder = string.match(state[6] or '', '^(%d+) (.*)$')
ends = tonumber(ends or 0)
if ends > now and ends <= now + 30000 and holder ~= worker and holder ~= parent then return {'TAKEN', now, -1} end
local suspects, group, last, pending = KEYS[13], nil, '0-0', 0
if redis.call('XLEN', suspects) > 0 then
  group = redis.call('XINFO', 'GROUPS', suspects)[1]
  if group then last, pending = group[8], group[6] end
end
local found = redis.call('XRANGE', suspects, '(' .. last, '+', 'COUNT', math.min(want, 8))
redis.call('ZCARD', lanes); redis.call('HLEN', jobs); redis.call('ZCARD', wake); redis.call('XLEN', events)
redis.call('XLEN', dead); redis.call('XLEN', outbox); redis.call('ZCARD', expiry_dead); redis.call('HLEN', blobs)
redis.call('HLEN', run); redis.call('LLEN', gone); redis.call('HLEN', gone_jobs)
local marks = redis.call('HLEN', cancel) > 0
if pending == 0 and #found == 0 then
  redis.call('HDEL', meta, 'tester')
  redis.call('ZREM', lanes, '11')
  redis.call('ZADD', wake, 0, '1')
  return {'NONE', now, -1}
end
local room, word, again_ms, charge
if pending == 0 then room, word, again_ms, charge = admit(now, #found, state, 0) end
redis.call('HSET', meta, 'tester', now + 30000 .. ' ' .. worker)
if pending > 0 then return {'WAIT', now, 200} end
if word then return {word, now, again_ms} end

local count = 0
while count < room do
  local stalled = string.match(found[count + 1][2][4], '^%d+:%d+:%d+:%d+:(%d+)')
  if stalled ~= '1' and count > 0 then break end
  count = count + 1
  if stalled ~= '1' then break end
end
if not group then redis.pcall('XGROUP', 'CREATE', suspects, 'workers', '0') end
local read = redis.call('XREADGROUP', 'GROUP', 'workers', worker, 'COUNT', count, 'STREAMS', suspects, '>')
local reply, entries, ids, buried, reasons = {'OK', now, 0}, {}, {}, {}, {}
for k = 1, #read[1][2] do
  local entry, fields = read[1][2][k][1], read[1][2][k][2]
  if marks and redis.call('HEXISTS', cancel, fields[2]) == 1 then
    bury(11, entry, fields, 'cancelled', 'not started: cancelled', now)
    buried[#buried + 1] = fields[2]; reasons[#buried] = 'cancelled'
  else entries[#entries + 1] = read[1][2][k]; ids[#ids + 1] = fields[2] end
end
charge(#ids)
tell('active', ids)
tell('failed', buried)
if #ids > 0 then reply[#reply + 1] = '11'; reply[#reply + 1] = entries end
if #buried > 0 then reply[#reply + 1] = 'dead'; reply[#reply + 1] = reasons end
return reply
