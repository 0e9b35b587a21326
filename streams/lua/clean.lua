#!lua flags=allow-oom
-- clean: ended jobs older than a grace disappear, oldest first; a call looks at no more than 500 jobs
--   and about 1 MiB of records.
--   answers word, count, entry to go on from ('' when done)
-- from: completed failed
-- to: (gone)
-- keys: jobs completed dead expiry_completed expiry_dead blobs run gone gone_jobs events audit idem
-- args: state grace_ms after most who once
-- replies: OK
-- uses: walk remember purge audit once
local kept = before()
if kept then return kept end
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local stream = state == 'completed' and completed or dead
local expiry = state == 'completed' and expiry_completed or expiry_dead
redis.call('HLEN', jobs); redis.call('ZCARD', expiry); redis.call('HLEN', blobs); redis.call('HLEN', run)
redis.call('LLEN', gone); redis.call('HLEN', gone_jobs); redis.call('XLEN', events); redis.call('XLEN', audit)
local rows, last, finished = {}, '', '^' .. string.rep('[^:]*:', 10) .. '(%d+)'
local from = after == '' and '-' or '(' .. after
for entry, fields in walk('XRANGE', stream, from, '+', math.min(most, 500)) do
  last = entry
  if tonumber(string.match(fields[4], finished)) <= now - grace_ms then
    rows[#rows + 1] = entry; rows[#rows + 1] = fields[2]
    weigh(fields[2], fields[4])
  end
end
purge(stream, expiry, rows, now)
if #rows > 0 then
  redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'cleaned', 'i', '', 'n', #rows / 2, 's', state)
  record('done')
end
return told('OK', #rows / 2, cut and last or '')
