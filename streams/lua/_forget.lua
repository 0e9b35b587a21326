-- forget: dropped jobs after ten minutes, about 500 a call; answers whether there may be more. A job that
--   was added and dropped again since has a younger trace. What was dropped by a later clock (it went
--   back) counts as dropped now.
-- needs: gone gone_jobs
local function forget(now)
  local limit_ms, ids, count = now - 600000, {}, 0
  while #ids < 500 do
    local at, list = string.match(redis.call('LRANGE', gone, count, count)[1] or '', '^(%d+) (.*)$')
    at = tonumber(at)
    if at and at > now then
      redis.call('LTRIM', gone, count + 1, -1)
      redis.call('LPUSH', gone, string.format('%.0f ', now) .. list)
      count = 0
    end
    if not at or at > limit_ms then break end
    count = count + 1
    for id in string.gmatch(list, '%S+') do ids[#ids + 1] = id end
  end
  if count > 0 then redis.call('LTRIM', gone, count, -1) end
  if #ids == 0 then return false end
  local traces, old = redis.call('HMGET', gone_jobs, unpack(ids)), {}
  for k = 1, #ids do
    local at = tonumber(traces[k] and string.match(traces[k], '|(%d+)|[^|]*$'))
    if at and (at <= limit_ms or at > now) then old[#old + 1] = ids[k] end
  end
  if #old > 0 then redis.call('HDEL', gone_jobs, unpack(old)) end
  return #ids >= 500
end
