#!lua flags=allow-oom
-- fail: claimed jobs end in the dead-letter stream.
--   jobs: (lane entry id header history callback)*; callback is '' where none is owed
--   answers word, now, then index, word pairs for jobs that were not ours
-- from: active
-- to: failed
-- keys: @lanes jobs dead delayed_jobs completed blobs run cancel events outbox expiry_dead gone gone_jobs wake meta
-- args: token list...
-- replies: OK
-- uses: already held remember lay tell
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local found, lanes_of, entries, ids = held(list, 6, token)
local capped = redis.call('HGET', meta, 'concurrency')
redis.call('XLEN', dead); redis.call('HLEN', blobs); redis.call('HLEN', run); redis.call('HLEN', cancel)
redis.call('XLEN', events); redis.call('XLEN', outbox); redis.call('ZCARD', expiry_dead)
redis.call('LLEN', gone); redis.call('HLEN', gone_jobs); redis.call('ZCARD', wake)

local reply, ended = {'OK', now}, {}
for k = 1, #ids do
  local id, fields, at = ids[k], found[k], list + (k - 1) * 6
  if type(fields) == 'string' then reply[#reply + 1] = k; reply[#reply + 1] = fields
  else
    local header, record = ARGV[at + 3], {}
    local flags = string.match(header, '^' .. string.rep('[^:]*:', 6) .. '(%w*)')
    for f = 5, #fields, 2 do
      if fields[f] ~= 'x' then record[#record + 1] = fields[f]; record[#record + 1] = fields[f + 1] end
    end
    record[#record + 1] = 'x'; record[#record + 1] = ARGV[at + 4]
    local trace = string.match(header, '[^:]*$') .. '|' .. now .. '|' .. lanes_of[k] .. '.' .. entries[k] .. '.' .. token
    lay(id, header .. ':' .. now, flags, record, trace, now)
    if ARGV[at + 5] ~= '' then
      redis.call('XADD', outbox, '*', 'j', id, 'h', header, 'o', ARGV[at + 5])
    end
    redis.call('XACK', KEYS[lanes_of[k] + 2], 'workers', entries[k])
    redis.call('XDEL', KEYS[lanes_of[k] + 2], entries[k])
    redis.call('HDEL', cancel, id)
    ended[#ended + 1] = id
  end
end
if capped and #ended > 0 then redis.call('ZADD', wake, 0, '1') end
tell('failed', ended)
return reply
