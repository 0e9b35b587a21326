#!lua flags=allow-oom
-- advance: a delayed job becomes waiting now, whenever it would have been due.
-- from: delayed
-- to: waiting
-- keys: @lanes lanes jobs delayed delayed_jobs events wake audit idem
-- args: id who once
-- replies: OK MISSING WRONG
-- uses: unpack lane audit once
local kept = before()
if kept then return kept end
local place = redis.call('HGET', jobs, id)
if not place then return {'MISSING'} end
local kind, entry = string.match(place, '^(%w+):?(.*)$')
if kind ~= 'd' then
  local held = kind ~= 'c' and kind ~= 'f'
    and redis.pcall('XPENDING', KEYS[(kind == 'b' and -1 or kind) + 2], 'workers', entry, entry, 1)
  return {'WRONG', kind == 'c' and 'completed' or kind == 'f' and 'failed'
    or held[1] and 'active' or 'waiting'}
end
local fields = parts(redis.call('HGET', delayed_jobs, id))
local lane = lane_of(fields[1])
redis.call('XLEN', KEYS[lane + 2]); redis.call('ZCARD', lanes); redis.call('ZCARD', delayed)
redis.call('XLEN', events); redis.call('ZCARD', wake); redis.call('XLEN', audit)
local added = redis.call('XADD', KEYS[lane + 2], '*', 'j', id, 'h', fields[1], 'b', unpack(fields, 2))
redis.call('HSET', jobs, id, lane .. ':' .. added)
redis.call('ZREM', delayed, id)
redis.call('HDEL', delayed_jobs, id)
redis.call('ZADD', lanes, lane, lane)
redis.call('ZADD', wake, 0, '1')
redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'waiting', 'i', id)
record('done')
return told('OK')
