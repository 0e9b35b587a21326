#!lua flags=allow-oom
-- prune: ended jobs past their queue's retention (age, count) or their own age disappear; of each
--   state at most about 512 KiB of records and 500 jobs a call.
--   limits are ms and counts; '' means without. Jobs with a retention of their own are walked past:
--   the cursor in meta stays behind them, so they are looked at once.
--   answers word, count, 1 if there may be more
-- from: completed failed
-- to: (gone)
-- keys: jobs completed dead expiry_completed expiry_dead blobs run gone gone_jobs events meta
-- args: completed_ms completed_count failed_ms failed_count interval_ms
-- replies: OK SKIP
-- uses: walk remember purge forget
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local next_ms = tonumber(redis.call('HGET', meta, 'next:prune') or 0)
if next_ms > now and next_ms <= now + interval_ms then return {'SKIP', 0, 0} end
redis.call('HLEN', jobs); redis.call('HLEN', blobs); redis.call('HLEN', run); redis.call('HLEN', gone_jobs)
redis.call('XLEN', events); redis.call('ZCARD', expiry_completed); redis.call('ZCARD', expiry_dead)
redis.call('XLEN', completed); redis.call('XLEN', dead); redis.call('LLEN', gone)

local total, more = 0, false
local place = '^' .. string.rep('[^:]*:', 6) .. '(%w*):[^:]*:[^:]*:[^:]*:(%d+)'
local function prune(stream, expiry, age, count, own, name)
  budget = 524288
  local rows, looked = {}, 0
  local due = redis.call('ZRANGEBYSCORE', expiry, '-inf', now, 'LIMIT', 0, 250)
  while looked < #due and budget > 0 do
    looked = looked + 1
    local found = redis.call('XRANGE', stream, due[looked], due[looked])[1]
    if found then
      rows[#rows + 1] = found[1]; rows[#rows + 1] = found[2][2]
      charge(found[2]); weigh(found[2][2], found[2][4])
    else redis.call('ZREM', expiry, due[looked]) end
  end
  more = more or looked < #due or #due == 250
  local cursor = redis.call('HGET', meta, name)
  local excess = count ~= '' and redis.call('XLEN', stream) - redis.call('ZCARD', expiry) - count or 0
  local most = (age ~= '' or excess > 0) and 250 or 0
  for entry, fields in walk('XRANGE', stream, cursor and '(' .. cursor or '-', '+', most) do
    local flags, finished = string.match(fields[4], place)
    if not string.find(flags, own) then
      if excess <= 0 and (age == '' or tonumber(finished) > now - age) then break end
      excess = excess - 1
      rows[#rows + 1] = entry; rows[#rows + 1] = fields[2]
      weigh(fields[2], fields[4])
    end
    cursor = entry
  end
  if cursor then redis.call('HSET', meta, name, cursor) end
  purge(stream, expiry, rows, now)
  total = total + #rows / 2
  more = more or cut and most > 0
end
prune(completed, expiry_completed, completed_ms, completed_count, '[AK]', 'prune:completed')
prune(dead, expiry_dead, failed_ms, failed_count, '[XL]', 'prune:dead')
more = forget(now) or more
if interval_ms ~= '0' and not more then redis.call('HSET', meta, 'next:prune', now + interval_ms) end
return {'OK', total, more and 1 or 0}
