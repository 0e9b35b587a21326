#!lua
-- add: new jobs become waiting or delayed. A run is a stretch of jobs with the same options:
--   priority delay_ms expires_ms flags count (id body [callback] [payload])*count
-- Known ids are left alone and answered with their state. KEPT: this was answered before, as `idem` says.
-- BACKLOG, limit: with these and `room` jobs that follow, more would not have ended; '': no matter.
-- from: new
-- to: waiting delayed
-- keys: @lanes lanes jobs delayed delayed_jobs gone_jobs blobs wake events meta idem
-- args: nonce again once room runs...
-- replies: OK KEPT BACKLOG
-- uses: backlog
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local kept = once ~= '' and redis.call('HMGET', idem, 'said', 'answer') or {}
if kept[1] then return {'KEPT', kept[1], kept[2]} end
local ids, i, last, later = {}, runs, #ARGV, false
while i < last do
  local per_job = string.find(ARGV[i + 3], 'C', 1, true) and 3 or 2
  if string.find(ARGV[i + 3], 'B', 1, true) then per_job = per_job + 1 end
  redis.call('XLEN', KEYS[ARGV[i] + 2])
  local count = ARGV[i + 4]
  later = later or ARGV[i + 1] ~= '0'
  i = i + 5
  for _ = 1, count do ids[#ids + 1] = ARGV[i]; i = i + per_job end
end
local facts = (later or room ~= '') and redis.call('HMGET', meta, 'due', 'backlog') or {}
local known = redis.call('HMGET', jobs, unpack(ids))
local gone = again == '1' and redis.call('HMGET', gone_jobs, unpack(ids)) or {}
local head = tonumber(facts[1] or nil)
if room ~= '' and facts[2] and overflows(ids, known, facts[2] - room) then return {'BACKLOG', facts[2]} end
if later then redis.call('ZCARD', delayed); redis.call('HLEN', delayed_jobs) end
redis.call('ZCARD', lanes); redis.call('ZCARD', wake); redis.call('XLEN', events); redis.call('HLEN', blobs)

local reply, seen, places, added = {'OK', now}, {}, {}, {}
local n, i, rouse, sooner = 0, runs, false, false
while i < last do
  local priority, delay, expires, flags = ARGV[i], ARGV[i + 1] + 0, ARGV[i + 2] + 0, ARGV[i + 3]
  local has_callback = string.find(flags, 'C', 1, true)
  local has_payload = string.find(flags, 'B', 1, true)
  local lane, count, some = KEYS[priority + 2], ARGV[i + 4], false
  local header = '2:' .. priority .. ':0:0:0:0:' .. flags .. ':'
    .. (expires > 0 and now + expires or '') .. '::' .. now
  if string.find(flags, '[DF]') then header = header .. '::' .. nonce end
  i = i + 5
  for _ = 1, count do
    local id, body = ARGV[i], ARGV[i + 1]
    i = i + 2
    local callback, payload
    if has_callback then callback = ARGV[i]; i = i + 1 end
    if has_payload then payload = ARGV[i]; i = i + 1 end
    n = n + 1
    local place = known[n] or seen[id]
    if place then
      local kind, entry = string.match(place, '^(%w+):?(.*)$')
      local state = kind == 'd' and 'delayed' or kind == 'c' and 'completed' or kind == 'f' and 'failed'
      if not state then
        local at = KEYS[(kind == 'b' and -1 or kind) + 2]
        state = redis.pcall('XPENDING', at, 'workers', entry, entry, 1)[1] and 'active' or 'waiting'
      end
      reply[#reply + 1] = n; reply[#reply + 1] = state
    elseif gone[n] and string.sub(gone[n], 1, #nonce) == nonce then
      seen[id] = 'c'
    else
      if payload then redis.call('HSET', blobs, id .. ':d', payload) end
      if delay > 0 then
        local record = header .. '\0' .. body
        if callback then record = record .. '\0c\0' .. callback end
        redis.call('ZADD', delayed, priority * 1e13 + now + delay, id)
        redis.call('HSET', delayed_jobs, id, record)
        place = 'd'
        if not head or now + delay < head then head, sooner = now + delay, true end
      else
        if callback then
          place = redis.call('XADD', lane, '*', 'j', id, 'h', header, 'b', body, 'c', callback)
        else
          place = redis.call('XADD', lane, '*', 'j', id, 'h', header, 'b', body)
        end
        place = priority .. ':' .. place
        some = true
      end
      seen[id] = place
      places[#places + 1] = id; places[#places + 1] = place
      added[#added + 1] = id
    end
  end
  if some then redis.call('ZADD', lanes, priority, priority); rouse = true end
end
if #places > 0 then redis.call('HSET', jobs, unpack(places)) end
if sooner then redis.call('HSET', meta, 'due', string.format('%.0f', head)) end
if rouse or sooner then redis.call('ZADD', wake, 0, '1') end
for from = 1, #added, 50 do
  redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', 'added', 'i',
    table.concat(added, ' ', from, math.min(from + 49, #added)))
end
if once ~= '' then
  redis.call('HSET', idem, 'said', once, 'answer', table.concat(reply, ' ', 3))
  redis.call('PEXPIRE', idem, 86400000)
end
return reply
