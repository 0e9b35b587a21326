#!lua flags=allow-oom
-- drain: jobs that have not started disappear with everything they own, waiting ones first, and delayed
--   ones if `with_delayed` is 1; at most `most` jobs and about 1 MiB of records a call.
--   answers word, count, 1 if there may be more
-- from: waiting delayed
-- to: (gone)
-- keys: @lanes lanes jobs delayed delayed_jobs blobs run gone gone_jobs events audit idem
-- args: with_delayed most who once
-- replies: OK
-- uses: walk remember purge audit once
local kept = before()
if kept then return kept end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HLEN', jobs); redis.call('ZCARD', lanes); redis.call('ZCARD', delayed); redis.call('HLEN', delayed_jobs)
redis.call('HLEN', blobs); redis.call('HLEN', run); redis.call('LLEN', gone); redis.call('HLEN', gone_jobs)
redis.call('XLEN', events); redis.call('XLEN', audit); redis.call('XLEN', KEYS[1])

local left, more = math.min(most, 500), false
for n = -1, 11 do
  local groups, rows = redis.pcall('XINFO', 'GROUPS', KEYS[n + 2]), {}
  if not groups.err and left > 0 then
    for entry, fields in walk('XRANGE', KEYS[n + 2], groups[1] and '(' .. groups[1][8] or '-', '+', left) do
      rows[#rows + 1] = entry; rows[#rows + 1] = fields[2]
      weigh(fields[2], fields[4])
    end
    purge(KEYS[n + 2], lanes, rows, now)
    left, more = left - #rows / 2, more or cut
  else more = more or not groups.err end
end
if with_delayed == '1' and left > 0 and budget > 0 then
  local ids, rows = redis.call('ZRANGE', delayed, 0, left - 1), {}
  more = #ids == left
  for k = 1, #ids do
    local record = redis.call('HGET', delayed_jobs, ids[k]) or ''
    charge({record}); weigh(ids[k], string.match(record, '^%Z*'))
    rows[#rows + 1] = '0-0'; rows[#rows + 1] = ids[k]
    if budget <= 0 then more = true; break end
  end
  if #rows > 0 then
    local gone_ids = {}
    for k = 2, #rows, 2 do gone_ids[#gone_ids + 1] = rows[k] end
    redis.call('ZREM', delayed, unpack(gone_ids)); redis.call('HDEL', delayed_jobs, unpack(gone_ids))
    purge(KEYS[1], lanes, rows, now) -- no lane has an entry 0-0
    left = left - #gone_ids
  end
end
local count = math.min(most, 500) - left
if count > 0 then
  redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'drained', 'i', '', 'n', count)
  record('done')
end
return told('OK', count, more and 1 or 0)
