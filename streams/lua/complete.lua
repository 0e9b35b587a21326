#!lua flags=allow-oom
-- complete: claimed jobs end with a result. A group holds jobs of one lane:
--   lane count (entry id header body [keep_ms if A] [result if R] [callback if C])*count
-- The header is final but for the time; the flags in it say which extras follow.
--   answers word, now, then index, word pairs for jobs that were not ours
-- from: active
-- to: completed
-- keys: @lanes jobs completed dead delayed_jobs blobs run cancel events outbox expiry_completed gone gone_jobs wake meta
-- args: token groups...
-- replies: OK
-- uses: already
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local finished = ':' .. now

local ids, claims, i, last = {}, {}, groups, #ARGV
while i < last do
  local lane, count = ARGV[i], ARGV[i + 1]
  local prefix = lane == '-1' and 'b:' or lane .. ':'
  redis.call('XLEN', KEYS[lane + 2])
  i = i + 2
  for _ = 1, count do
    ids[#ids + 1] = ARGV[i + 1]; claims[#claims + 1] = prefix .. ARGV[i]
    local header = ARGV[i + 2]
    i = i + 4
    if string.find(header, '%u') then
      if string.find(header, 'A', 1, true) then i = i + 1 end
      if string.find(header, 'R', 1, true) then i = i + 1 end
      if string.find(header, 'C', 1, true) then i = i + 1 end
    end
  end
end
local places, words = redis.call('HMGET', jobs, unpack(ids)), {}
for k = 1, #ids do
  if places[k] ~= claims[k] then
    local lane, entry = string.match(claims[k], '^(%w+):(.*)$')
    words[k] = already(places[k], ids[k], (lane == 'b' and '-1' or lane) .. '.' .. entry .. '.' .. token)
  end
end
local marks, capped = redis.call('HLEN', cancel), redis.call('HGET', meta, 'concurrency')
redis.call('HLEN', run)
redis.call('XLEN', completed); redis.call('XLEN', events); redis.call('XLEN', outbox)
redis.call('HLEN', blobs); redis.call('ZCARD', expiry_completed); redis.call('ZCARD', wake)
redis.call('LLEN', gone); redis.call('HLEN', gone_jobs)

local reply, moved, dropped, traces, ended, n = {'OK', now}, {}, {}, {}, {}, 0
i = groups
while i < last do
  local lane, count, mine = ARGV[i], ARGV[i + 1], {}
  local key = KEYS[lane + 2]
  i = i + 2
  for _ = 1, count do
    n = n + 1
    local entry, id, header, body = ARGV[i], ARGV[i + 1], ARGV[i + 2], ARGV[i + 3]
    local keep_ms, result, callback
    i = i + 4
    local special = string.find(header, '%u')
    if special then
      if string.find(header, 'A', 1, true) then keep_ms = ARGV[i]; i = i + 1 end
      if string.find(header, 'R', 1, true) then result = ARGV[i]; i = i + 1 end
      if string.find(header, 'C', 1, true) then callback = ARGV[i]; i = i + 1 end
    end
    if words[n] then
      reply[#reply + 1] = n; reply[#reply + 1] = words[n]
    else
      mine[#mine + 1] = entry; ended[#ended + 1] = id
      if special and string.find(header, 'D', 1, true) then
        dropped[#dropped + 1] = id; traces[#traces + 1] = id
        redis.call('HDEL', blobs, id .. ':d')
        redis.call('HDEL', run, id .. ':p', id .. ':l', id .. ':a', id .. ':m', id .. ':c')
        traces[#traces + 1] = string.match(header, '[^:]*$') .. '|' .. now .. '|' .. lane .. '.' .. entry .. '.' .. token
      else
        local at = redis.call('XADD', completed, '*', 'j', id, 'h', header .. finished, 'b', body)
        moved[#moved + 1] = id; moved[#moved + 1] = 'c:' .. at
        if result then redis.call('HSET', blobs, id .. ':r', result) end
        if keep_ms then redis.call('ZADD', expiry_completed, now + keep_ms, at)
        elseif special and string.find(header, 'K', 1, true) then
          redis.call('ZADD', expiry_completed, '+inf', at)
        end
      end
      if callback then redis.call('XADD', outbox, '*', 'j', id, 'h', header, 'o', callback) end
    end
  end
  if #mine > 0 then
    redis.call('XACK', key, 'workers', unpack(mine))
    redis.call('XDEL', key, unpack(mine))
  end
end
if #moved > 0 then redis.call('HSET', jobs, unpack(moved)) end
if #dropped > 0 then
  redis.call('HDEL', jobs, unpack(dropped)); redis.call('HSET', gone_jobs, unpack(traces))
  redis.call('RPUSH', gone, now .. ' ' .. table.concat(dropped, ' '))
end
if marks > 0 and #ended > 0 then redis.call('HDEL', cancel, unpack(ended)) end
if capped and #ended > 0 then redis.call('ZADD', wake, 0, '1') end
for from = 1, #ended, 50 do
  redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'completed', 'i',
    table.concat(ended, ' ', from, math.min(from + 49, #ended)))
end
return reply
