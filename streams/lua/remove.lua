#!lua flags=allow-oom
-- remove: a job that is not running disappears with everything it owns.
-- from: waiting delayed completed failed
-- to: (gone)
-- keys: @lanes jobs delayed delayed_jobs completed dead expiry_completed expiry_dead blobs run cancel gone gone_jobs events audit idem
-- args: id who once
-- replies: OK MISSING ACTIVE
-- uses: remember audit once
local kept = before()
if kept then return kept end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local place = redis.call('HGET', jobs, id)
if not place then return {'MISSING'} end
local kind, entry = string.match(place, '^(%w+):?(.*)$')
local lane = KEYS[(tonumber(kind) or -1) + 2]
if kind == 'b' or tonumber(kind) then
  local held = redis.pcall('XPENDING', lane, 'workers', entry, entry, 1)
  if held[1] then return {'ACTIVE'} end
end
redis.call('XLEN', completed); redis.call('XLEN', dead); redis.call('ZCARD', delayed)
redis.call('HLEN', delayed_jobs); redis.call('ZCARD', expiry_completed); redis.call('ZCARD', expiry_dead)
redis.call('HLEN', blobs); redis.call('HLEN', run); redis.call('HLEN', cancel); redis.call('XLEN', lane)
redis.call('LLEN', gone); redis.call('HLEN', gone_jobs); redis.call('XLEN', events); redis.call('XLEN', audit)
redis.call('HDEL', jobs, id)
if kind == 'd' then
  redis.call('ZREM', delayed, id)
  redis.call('HDEL', delayed_jobs, id)
elseif kind == 'c' then
  redis.call('XDEL', completed, entry)
  redis.call('ZREM', expiry_completed, entry)
elseif kind == 'f' then
  redis.call('XDEL', dead, entry)
  redis.call('ZREM', expiry_dead, entry)
else
  redis.call('XDEL', lane, entry)
end
redis.call('HDEL', blobs, id .. ':d', id .. ':r')
redis.call('HDEL', run, id .. ':p', id .. ':l', id .. ':a', id .. ':m', id .. ':c')
redis.call('HDEL', cancel, id)
if string.sub(id, 1, 4) == '~cb:' then
  remember({id, id .. '|' .. now .. '|'}, now)
end
redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'removed', 'i', id)
record('done')
return told('OK')
