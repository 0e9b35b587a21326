#!lua flags=allow-oom
-- revive: a dead job runs again with all its attempts.
-- from: failed
-- to: waiting
-- keys: @lanes lanes jobs dead expiry_dead events wake audit
-- args: id who
-- replies: OK MISSING WRONG
-- uses: audit
local place = redis.call('HGET', jobs, id)
if not place then return {'MISSING'} end
local kind, grave = string.match(place, '^(%w+):?(.*)$')
if kind ~= 'f' then
  local held = kind ~= 'd' and kind ~= 'c'
    and redis.pcall('XPENDING', KEYS[(kind == 'b' and -1 or kind) + 2], 'workers', grave, grave, 1)
  return {'WRONG', kind == 'd' and 'delayed' or kind == 'c' and 'completed'
    or held[1] and 'active' or 'waiting'}
end
local fields = redis.call('XRANGE', dead, grave, grave)[1][2]
local layout, priority, endings, flags, added =
  string.match(fields[4], '^(%d+):(%d+):%d+:%d+:%d+:(%d+):(%w*):%d*:[^:]*:(%d+)')
redis.call('XLEN', KEYS[priority + 2]); redis.call('ZCARD', lanes); redis.call('ZCARD', expiry_dead)
redis.call('XLEN', events); redis.call('ZCARD', wake); redis.call('XLEN', audit)
fields[4] = layout .. ':' .. priority .. ':0:0:0:' .. endings .. ':' .. flags .. '::f.' .. grave .. ':' .. added
local entry = redis.call('XADD', KEYS[priority + 2], '*', unpack(fields))
redis.call('HSET', jobs, id, priority .. ':' .. entry)
redis.call('XDEL', dead, grave)
redis.call('ZREM', expiry_dead, grave)
redis.call('ZADD', lanes, priority, priority)
redis.call('ZADD', wake, 0, '1')
redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'waiting', 'i', id)
record('done')
return {'OK'}
