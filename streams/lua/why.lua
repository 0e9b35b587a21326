#!lua flags=no-writes
-- why: what stands between a job and its start, at one instant.
--   answers word, now, state, entry or due time, worker, header, {paused, max, duration,
--   concurrency}, active, when the rate limit gives way (0: it does not hold), ahead (of a delayed job:
--   if it were due now), 1 if that is exact (else at least so many), live workers, their slots, times
--   of recent endings, starts in the window of the rate limit
-- from: any
-- to: any
-- keys: @lanes jobs delayed delayed_jobs completed dead gone meta limit beats
-- args: id most silent_ms
-- replies: OK MISSING
-- uses: walk
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local place = redis.call('HGET', jobs, id)
if not place then return {'MISSING'} end
local kind, entry = string.match(place, '^(%w+):?(.*)$')
local lane = kind == 'b' and -1 or tonumber(kind)
local state, header, worker = 'waiting', '', ''
if kind == 'd' then
  state, entry = 'delayed', string.format('%.0f', redis.call('ZSCORE', delayed, id) % 1e13)
  header = string.match(redis.call('HGET', delayed_jobs, id), '^[%d%w:.~-]*')
  lane = tonumber(string.match(header, '^%d+:(%d+)'))
else
  local key = kind == 'c' and completed or kind == 'f' and dead or KEYS[lane + 2]
  local found = redis.call('XRANGE', key, entry, entry)
  if not found[1] then return {'MISSING'} end
  header = found[1][2][4]
  if kind == 'c' then state = 'completed' elseif kind == 'f' then state = 'failed'
  else
    local held = redis.pcall('XPENDING', key, 'workers', entry, entry, 1)
    if held[1] then state, worker = 'active', held[1][2] end
  end
end
local facts = redis.call('HMGET', meta, 'paused', 'max', 'duration', 'concurrency', 'granted')
local until_ms, left, used = 0, tonumber(facts[5] or 0), tonumber(facts[5] or 0)
local grants = facts[2] and redis.call('LRANGE', limit, 0, 999) or {}
for k = 1, #grants do
  local at, count = string.match(grants[k], '^(%d+):(%d+)$')
  local ends = math.min(at, now) + facts[3]
  if ends <= now then left, used = left - count, used - count
  elseif left < tonumber(facts[2]) then break
  else until_ms, left = ends, left - count end
end
local function length_of(key, from, to)
  local count = 0
  budget = 262144
  for _ in walk('XRANGE', key, from, to, tonumber(most)) do count = count + 1 end
  return count
end
local active, ahead, exact = 0, 0, 1
for n = -1, 11 do
  local key = KEYS[n + 2]
  local groups, length = redis.pcall('XINFO', 'GROUPS', key), redis.call('XLEN', key)
  local pending, last = 0, '0-0'
  if groups[1] then pending, last = groups[1][6], groups[1][8] end
  active = active + pending
  if state == 'waiting' and n < lane and lane ~= 11 or state == 'delayed' and n <= lane then ahead = ahead + length - pending
  elseif state == 'waiting' and n == lane then
    local before = length_of(key, '(' .. last, '(' .. entry)
    local after = cut and length_of(key, '(' .. entry, '+')
    if not after then ahead = ahead + before
    elseif not cut then ahead = ahead + length - pending - 1 - after
    else ahead, exact = ahead + before, 0 end
  end
end
local times, finished = {}, '^' .. string.rep('[^:]*:', 10) .. '(%d+)'
for _, stream in ipairs({completed, dead}) do
  budget = 262144
  for _, fields in walk('XREVRANGE', stream, '+', '-', 30) do
    local text = fields[4]
    if string.match(text, '^%d+:%d+:%d+:(%d+)') ~= '0' then times[#times + 1] = string.match(text, finished) end
  end
end
for back = 1, 30 do
  local at, list = string.match(redis.call('LRANGE', gone, -back, -back)[1] or '', '^(%d+) (.*)$')
  local _, count = string.gsub(list or '', '%S+', '')
  for _ = 1, math.min(count, 30) do times[#times + 1] = at end
  if count == 0 or count >= 30 then break end
end
local alive, slots, seen = 0, 0, redis.call('HVALS', beats)
for k = 1, #seen do
  local at, some = string.match(seen[k], '^(%d+):(%d*)')
  if math.abs(now - at) <= silent_ms + 0 then alive, slots = alive + 1, slots + (tonumber(some) or 0) end
end
return {'OK', now, state, entry, worker, header, {facts[1] or '', facts[2] or '', facts[3] or '',
  facts[4] or ''}, active, until_ms, ahead, exact, alive, slots, times, used}
