-- raise: due delayed jobs move to their lanes; answers how many.
-- needs: @lanes jobs delayed delayed_jobs, and lanes read before; checks its lanes itself
local function raise(now)
  local due = redis.call('ZRANGEBYSCORE', delayed, '-inf', now, 'LIMIT', 0, 100)
  if #due == 0 then return 0 end
  local records, places, checked = redis.call('HMGET', delayed_jobs, unpack(due)), {}, {}
  for k = 1, #due do
    local priority = records[k] and string.match(records[k], '^%d+:(%d+)')
    if priority and not checked[priority] then
      redis.call('XLEN', KEYS[priority + 2])
      checked[priority] = true
    end
  end
  for k = 1, #due do
    local id, record = due[k], records[k]
    if record then
      local fields = parts(record)
      local priority = string.match(fields[1], '^%d+:(%d+)')
      local entry = redis.call('XADD', KEYS[priority + 2], '*', 'j', id, 'h', fields[1], 'b',
        unpack(fields, 2))
      places[#places + 1] = id; places[#places + 1] = priority .. ':' .. entry
      redis.call('ZADD', lanes, priority, priority)
    end
  end
  if #places > 0 then redis.call('HSET', jobs, unpack(places)) end
  redis.call('ZREM', delayed, unpack(due))
  redis.call('HDEL', delayed_jobs, unpack(due))
  return #due
end
