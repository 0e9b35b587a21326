#!lua flags=allow-oom
-- revive: a dead job runs again with all its attempts, now or after a delay.
--   LOOP: it has ended more often than `most_endings` ('': without bound) and stays where it is.
-- from: failed
-- to: waiting delayed
-- keys: @lanes lanes jobs delayed delayed_jobs dead expiry_dead events wake meta audit idem
-- args: id delay_ms most_endings who once
-- replies: OK MISSING WRONG LOOP
-- uses: audit once
local kept = before()
if kept then return kept end
local time = redis.call('TIME')
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
if most_endings ~= '' and tonumber(endings) > tonumber(most_endings) then return {'LOOP', endings} end
local head = tonumber(redis.call('HGET', meta, 'due'))
redis.call('XLEN', KEYS[priority + 2]); redis.call('ZCARD', lanes); redis.call('ZCARD', expiry_dead)
redis.call('XLEN', events); redis.call('ZCARD', wake); redis.call('XLEN', audit)
redis.call('ZCARD', delayed); redis.call('HLEN', delayed_jobs)
local state, rouse = 'waiting', true
fields[4] = layout .. ':' .. priority .. ':0:0:0:' .. endings .. ':' .. flags .. '::f.' .. grave .. ':' .. added
if tonumber(delay_ms) > 0 then
  state = 'delayed'
  local due = time[1] * 1000 + math.floor(time[2] / 1000) + delay_ms
  local body, rest = '', ''
  for f = 5, #fields, 2 do
    if fields[f] == 'b' then body = fields[f + 1]
    else rest = rest .. '\0' .. fields[f] .. '\0' .. fields[f + 1] end
  end
  redis.call('HSET', delayed_jobs, id, fields[4] .. '\0' .. body .. rest)
  redis.call('ZADD', delayed, priority * 1e13 + due, id)
  redis.call('HSET', jobs, id, 'd')
  rouse = not head or due < head
  if rouse then redis.call('HSET', meta, 'due', string.format('%.0f', due)) end
else
  local entry = redis.call('XADD', KEYS[priority + 2], '*', unpack(fields))
  redis.call('HSET', jobs, id, priority .. ':' .. entry)
  redis.call('ZADD', lanes, priority, priority)
end
redis.call('XDEL', dead, grave)
redis.call('ZREM', expiry_dead, grave)
if rouse then redis.call('ZADD', wake, 0, '1') end
redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', state, 'i', id)
record('done')
return told('OK', state)
