#!lua flags=allow-oom
-- cancel: a job that has not started dies now; a running one is marked for its worker to stop.
-- from: waiting delayed active
-- to: failed active
-- keys: @lanes jobs delayed delayed_jobs dead outbox cancel expiry_dead blobs run gone gone_jobs events audit idem wake
-- args: id who once
-- replies: OK CANCELLING MISSING ENDED
-- uses: unpack remember lay bury audit once
local kept = before()
if kept then return kept end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local place = redis.call('HGET', jobs, id)
if not place then return {'MISSING'} end
local kind, entry = string.match(place, '^(%w+):?(.*)$')
if kind == 'c' or kind == 'f' then return {'ENDED', kind == 'c' and 'completed' or 'failed'} end
redis.call('XLEN', dead); redis.call('XLEN', outbox); redis.call('ZCARD', expiry_dead); redis.call('HLEN', blobs)
redis.call('HLEN', run); redis.call('LLEN', gone); redis.call('HLEN', gone_jobs); redis.call('XLEN', events)
redis.call('HLEN', cancel); redis.call('ZCARD', delayed); redis.call('XLEN', audit)
redis.call('ZCARD', wake)
local fields, lane
if kind == 'd' then
  local record = parts(redis.call('HGET', delayed_jobs, id))
  fields, lane, entry = {'j', id, 'h', record[1], 'b', unpack(record, 2)}, 'd', '0-0'
  redis.call('ZREM', delayed, id)
  redis.call('HDEL', delayed_jobs, id)
else
  lane = kind == 'b' and -1 or kind
  local held = redis.pcall('XPENDING', KEYS[lane + 2], 'workers', entry, entry, 1)
  if held[1] then
    if redis.call('HSET', cancel, id, now) == 1 then record('cancelling') end
    return told('CANCELLING')
  end
  fields = redis.call('XRANGE', KEYS[lane + 2], entry, entry)[1][2]
end
bury(lane, entry, fields, 'cancelled', 'cancelled before it started', now)
if redis.call('XLEN', outbox) > 0 then redis.call('ZADD', wake, 0, '1') end
redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'failed', 'i', id)
record('done')
return told('OK')
