#!lua flags=allow-oom
-- release: a stopping worker gives claimed jobs back unharmed: no attempt is charged.
--   jobs: (lane entry id started)*; one that has started (1) does not expire any more. `token` is empty
--   for claims that their worker does not know: if it learns of one later, it is told LOST, not ALREADY.
--   answers word, now, then index, word pairs for jobs that were not ours
-- from: active
-- to: waiting
-- keys: @lanes lanes jobs delayed_jobs completed dead gone_jobs events wake
-- args: token list...
-- replies: OK
-- uses: already held lane tell
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found, lanes_of, entries, ids = held(list, 4, token)
redis.call('XLEN', KEYS[1]); redis.call('XLEN', KEYS[13]); redis.call('ZCARD', lanes); redis.call('XLEN', events); redis.call('ZCARD', wake)

local reply, moved, targets = {'OK', now}, {}, {}
for k = 1, #ids do
  local fields = found[k]
  if type(fields) == 'string' then reply[#reply + 1] = k; reply[#reply + 1] = fields
  else
    local front, expires, rest = string.match(fields[4], '^(' .. string.rep('[^:]*:', 7) .. ')([^:]*):[^:]*(.*)$')
    local from = lanes_of[k] .. '.' .. entries[k]
    fields[4] = front .. (ARGV[list + 4 * k - 1] == '1' and '' or expires) .. ':'
      .. (token == '' and '~' .. from or from .. '.' .. token) .. rest
    local target = lane_of(fields[4], '-1')
    local added = redis.call('XADD', KEYS[target + 2], '*', unpack(fields))
    redis.call('HSET', jobs, ids[k], (target == '-1' and 'b:' or target .. ':') .. added)
    targets[target] = true
    redis.call('XACK', KEYS[lanes_of[k] + 2], 'workers', entries[k])
    redis.call('XDEL', KEYS[lanes_of[k] + 2], entries[k])
    moved[#moved + 1] = ids[k]
  end
end
for target in pairs(targets) do redis.call('ZADD', lanes, target, target) end
if #moved > 0 then redis.call('ZADD', wake, 0, '1') end
tell('waiting', moved)
return reply
