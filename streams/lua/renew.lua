#!lua flags=allow-oom
-- renew: keep the lease of running jobs; also says what the worker should know about them. A claim is
--   kept only if it is pending for this worker: XCLAIM alone would take it from another.
--   jobs: (lane entry id)*, at most 1,000
--   answers word, now, {index of each claim lost}, {index of each job to cancel},
--   {lane, entry of each claim this worker holds and did not name, if older than stray_ms ('': not asked)}
-- from: active
-- to: active
-- keys: @lanes jobs cancel
-- args: worker stray_ms list...
-- replies: OK
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local lost, cancelled, strays, named, ranges = {}, {}, {}, {}, {}
local marks = redis.call('HLEN', cancel) > 0
for i = list, #ARGV, 3 do
  local lane, entry, k = ARGV[i], ARGV[i + 1], (i - list) / 3 + 1
  local ms, sequence = string.match(entry, '^(%d+)-(%d+)$')
  ms, sequence = tonumber(ms), tonumber(sequence)
  local range = ranges[lane] or {entries = {}, low = ms, low_sequence = sequence, high = ms, high_sequence = sequence}
  if ms < range.low or ms == range.low and sequence < range.low_sequence then
    range.low, range.low_sequence = ms, sequence
  end
  if ms > range.high or ms == range.high and sequence > range.high_sequence then
    range.high, range.high_sequence = ms, sequence
  end
  ranges[lane], named[lane .. '.' .. entry] = range, k
  table.insert(range.entries, entry)
  if marks and redis.call('HEXISTS', cancel, ARGV[i + 2]) == 1 then cancelled[#cancelled + 1] = k end
end
for lane, range in pairs(ranges) do
  local key, owned, mine, kept = KEYS[lane + 2], {}, {}, {}
  local from = string.format('%.0f-%.0f', range.low, range.low_sequence)
  local last = string.format('%.0f-%.0f', range.high, range.high_sequence)
  repeat
    local page = redis.pcall('XPENDING', key, 'workers', from, last, 1000, worker)
    for e = 1, #page do owned[page[e][1]] = true end
    from = #page == 1000 and '(' .. page[1000][1]
  until not from
  for e = 1, #range.entries do
    if owned[range.entries[e]] then mine[#mine + 1] = range.entries[e] end
  end
  if #mine > 0 then
    local call = {'XCLAIM', key, 'workers', worker, 0, unpack(mine)}
    call[#call + 1] = 'JUSTID'
    local alive = redis.call(unpack(call))
    for e = 1, #alive do kept[alive[e]] = true end
  end
  for e = 1, #range.entries do
    if not kept[range.entries[e]] then lost[#lost + 1] = named[lane .. '.' .. range.entries[e]] end
  end
end
for n = -1, stray_ms == '' and -2 or 11 do
  local mine = redis.pcall('XPENDING', KEYS[n + 2], 'workers', 'IDLE', stray_ms, '-', '+', 100, worker)
  if not mine.err then
    for e = 1, #mine do
      if not named[n .. '.' .. mine[e][1]] then strays[#strays + 1] = n; strays[#strays + 1] = mine[e][1] end
    end
  end
end
return {'OK', now, lost, cancelled, strays}
