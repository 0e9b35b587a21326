-- backlog: whether with the new jobs among `ids` more than `limit` jobs would not have ended.
-- needs: @lanes delayed
local function overflows(ids, known, limit)
  local fresh, open = 0, redis.call('ZCARD', delayed)
  for k = 1, #ids do
    if not known[k] then fresh = fresh + 1 end
  end
  for n = 1, 13 do open = open + redis.call('XLEN', KEYS[n]) end
  return fresh > 0 and open + fresh > limit
end
