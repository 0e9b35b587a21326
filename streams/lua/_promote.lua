-- raise: due delayed jobs move to their lanes, those of the most urgent priority first and in each
--   priority those due first; at most 100 jobs and about 512 KiB a call. A score in `delayed` is
--   priority * 1e13 + due ms. `due` in meta is a lower bound of the next due time.
--   answers how many, and the next due time (nil: none; 0: more are due)
-- needs: lane, @lanes jobs delayed delayed_jobs meta, and lanes read before; checks its lanes itself
local function raise(now)
  local ids, records, bytes, next_due = {}, {}, 0, nil
  for priority = 0, 10 do
    local base, from, full, head = priority * 1e13, 0, false, nil
    repeat
      local some, due = redis.call('ZRANGEBYSCORE', delayed, base, base + 1e13 - 1, 'WITHSCORES',
        'LIMIT', from, 8), {}
      for k = 1, #some, 2 do
        if some[k + 1] - base > now then head = some[k + 1] - base; break end
        if #ids + #due < 100 then due[#due + 1] = some[k] end
      end
      local found = due[1] and redis.call('HMGET', delayed_jobs, unpack(due)) or {}
      for k = 1, #due do
        ids[#ids + 1] = due[k]; records[#ids] = found[k]
        bytes = bytes + #(found[k] or '')
      end
      from, full = from + 8, #ids == 100 or bytes >= 524288
    until head or full or #some < 16
    if full then next_due = 0; break end
    if head then next_due = math.min(next_due or head, head) end
  end
  local places, checked = {}, {}
  for k = 1, #ids do
    local lane = records[k] and lane_of(records[k])
    if lane and not checked[lane] then
      redis.call('XLEN', KEYS[lane + 2])
      checked[lane] = true
    end
  end
  for k = 1, #ids do
    if records[k] then
      local fields = parts(records[k])
      local lane = lane_of(fields[1])
      local entry = redis.call('XADD', KEYS[lane + 2], '*', 'j', ids[k], 'h', fields[1], 'b',
        unpack(fields, 2))
      places[#places + 1] = ids[k]; places[#places + 1] = lane .. ':' .. entry
    end
  end
  for lane in pairs(checked) do redis.call('ZADD', lanes, lane, lane) end
  if #places > 0 then redis.call('HSET', jobs, unpack(places)) end
  if #ids > 0 then
    redis.call('ZREM', delayed, unpack(ids))
    redis.call('HDEL', delayed_jobs, unpack(ids))
  end
  if next_due then redis.call('HSET', meta, 'due', string.format('%.0f', next_due))
  else redis.call('HDEL', meta, 'due') end
  return #ids, next_due
end
