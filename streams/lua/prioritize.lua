#!lua flags=allow-oom
-- prioritize: a job that has not started gets another priority. A waiting one goes to the end of
--   its new lane; one that already waits there keeps its place. A suspect stays with the suspects.
-- from: waiting delayed
-- to: waiting delayed
-- keys: @lanes lanes jobs delayed delayed_jobs events wake audit
-- args: id priority who
-- replies: OK MISSING WRONG
-- uses: lane audit
local place = redis.call('HGET', jobs, id)
if not place then return {'MISSING'} end
local kind, entry = string.match(place, '^(%w+):?(.*)$')
if kind == 'c' or kind == 'f' then return {'WRONG', kind == 'c' and 'completed' or 'failed'} end
redis.call('XLEN', KEYS[priority + 2]); redis.call('XLEN', KEYS[13]); redis.call('ZCARD', lanes); redis.call('XLEN', events)
redis.call('ZCARD', wake); redis.call('XLEN', audit)
local state = 'waiting'
if kind == 'd' then
  state = 'delayed'
  local layout, rest = string.match(redis.call('HGET', delayed_jobs, id), '^(%d+:)%d+(.*)$')
  local due = redis.call('ZSCORE', delayed, id) % 1e13
  redis.call('HSET', delayed_jobs, id, layout .. priority .. rest)
  redis.call('ZADD', delayed, priority * 1e13 + due, id)
elseif kind ~= priority then
  local lane = KEYS[(kind == 'b' and -1 or kind) + 2]
  local held = redis.pcall('XPENDING', lane, 'workers', entry, entry, 1)
  if held[1] then return {'WRONG', 'active'} end
  local fields = redis.call('XRANGE', lane, entry, entry)[1][2]
  local layout, rest = string.match(fields[4], '^(%d+:)%d+(.*)$')
  fields[4] = layout .. priority .. rest
  local target = lane_of(fields[4])
  local added = redis.call('XADD', KEYS[target + 2], '*', unpack(fields))
  redis.call('HSET', jobs, id, target .. ':' .. added)
  redis.call('XDEL', lane, entry)
  redis.call('ZADD', lanes, target, target)
  redis.call('ZADD', wake, 0, '1')
else
  local held = redis.pcall('XPENDING', KEYS[priority + 2], 'workers', entry, entry, 1)
  if held[1] then return {'WRONG', 'active'} end
  return {'OK', state}
end
redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', state, 'i', id)
record('done')
return {'OK', state}
