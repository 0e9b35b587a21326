-- admit: how many of `want` jobs may start now within the queue's limits, of which `spare` places are
--   kept for others. Answers that number; 0 with the word to reply and ms until asking again is worth it
--   (-1: unknown). Then a function that writes down how many were started. Grants of a later clock (it
--   went back) count as made now. `state`: paused, max, duration, granted, concurrency of meta.
-- needs: @lanes limit meta
local function admit(now, want, state, spare)
  if state[1] then return 0, 'PAUSED', -1 end
  local max, expired, granted, next_ms, ahead = tonumber(state[2]), 0, tonumber(state[4] or 0), nil, false
  local function charge(started)
    if ahead then
      redis.call('DEL', limit)
      redis.call('RPUSH', limit, now .. ':' .. granted)
    elseif expired > 0 then redis.call('LTRIM', limit, expired, -1) end
    if max and started > 0 then redis.call('RPUSH', limit, now .. ':' .. started); granted = granted + started end
    if expired > 0 or max and started > 0 then redis.call('HSET', meta, 'granted', granted) end
  end
  if max then
    local grants = redis.call('LRANGE', limit, 0, 199)
    for k = 1, #grants do
      local at, count = string.match(grants[k], '^(%d+):(%d+)$')
      ahead = at + 0 > now
      at = math.min(at, now)
      if at + state[3] > now then next_ms = at + state[3] - now; break end
      expired, granted = k, granted - count
    end
    want = math.min(want, max - granted - spare)
    if want <= 0 then
      charge(0)
      return 0, 'LIMITED', next_ms or spare > 0 and 200 or 1
    end
  end
  if state[5] then
    local active = 0
    for n = -1, 11 do
      local groups = redis.pcall('XINFO', 'GROUPS', KEYS[n + 2])
      if groups[1] then active = active + groups[1][6] end
    end
    want = math.min(want, state[5] - active - spare)
    if want <= 0 then return 0, 'FULL', -1 end
  end
  return want, nil, nil, charge
end
