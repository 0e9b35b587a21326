#!lua flags=allow-oom
-- retry: claimed jobs whose attempt failed wait out their backoff; those with a gate are parked: they
--   wait until the gate has room (`unpark`), and no longer than the delay.
--   jobs: (lane entry id header history delay_ms gate look_ms)*; header and history are final
--   answers word, now, then index, word pairs for jobs that were not ours
-- from: active
-- to: delayed
-- keys: @lanes jobs delayed delayed_jobs completed dead gone_jobs events wake meta parked gates
-- args: token list...
-- replies: OK
-- uses: already held tell
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found, lanes_of, entries, ids = held(list, 8, token)
local capped, head = unpack(redis.call('HMGET', meta, 'concurrency', 'due'))
head = tonumber(head)
redis.call('ZCARD', delayed)
redis.call('HLEN', delayed_jobs); redis.call('XLEN', events); redis.call('ZCARD', wake)
redis.call('ZCARD', parked); redis.call('ZCARD', gates)

local reply, moved, sooner = {'OK', now}, {}, false
for k = 1, #ids do
  local fields, at = found[k], list + (k - 1) * 8
  if type(fields) == 'string' then reply[#reply + 1] = k; reply[#reply + 1] = fields
  else
    local body, rest = '', ''
    for f = 5, #fields, 2 do
      if fields[f] == 'b' then body = fields[f + 1]
      elseif fields[f] ~= 'x' then rest = rest .. '\0' .. fields[f] .. '\0' .. fields[f + 1] end
    end
    local due = now + ARGV[at + 5]
    redis.call('HSET', delayed_jobs, ids[k], ARGV[at + 3] .. '\0' .. body .. rest .. '\0x\0' .. ARGV[at + 4])
    redis.call('ZADD', delayed, string.match(ARGV[at + 3], '^%d+:(%d+)') * 1e13 + due, ids[k])
    redis.call('HSET', jobs, ids[k], 'd')
    redis.call('XACK', KEYS[lanes_of[k] + 2], 'workers', entries[k])
    redis.call('XDEL', KEYS[lanes_of[k] + 2], entries[k])
    local gate = ARGV[at + 6]
    if gate ~= '' then
      local added = string.match(ARGV[at + 3], '^' .. string.rep('[^:]*:', 9) .. '(%d+)')
      redis.call('ZADD', parked, 0, gate .. ':' .. added .. ':' .. string.format('%.0f', due) .. ':' .. ids[k])
      redis.call('ZADD', gates, 'LT', now + ARGV[at + 7], gate)
    end
    moved[#moved + 1] = ids[k]
    if not head or due < head then head, sooner = due, true end
  end
end
if sooner then redis.call('HSET', meta, 'due', string.format('%.0f', head)) end
if sooner or capped and #moved > 0 then redis.call('ZADD', wake, 0, '1') end
tell('delayed', moved)
return reply
