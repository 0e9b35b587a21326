-- room: how many deliveries may start at a destination now; if none, why, and when to ask again.
--   known: state until probe not_before limit rate_max rate_ms promised promised_until
--   Times further ahead than any is ever set were written before the clock was set back.
--   answers count, reason, time, whether the one that may start is a probe
-- needs: leases rate, lease_ms limit rate_max rate_ms open_ms
local function is_ahead(at, now, most_ms)
  return at and at + 0 > now and at + 0 <= now + most_ms
end
local function room(now, known, running, own)
  local most, per = tonumber(known[5] or limit), tonumber(known[6] or rate_max)
  local window, free, probes = tonumber(known[7] or rate_ms), nil, false
  if is_ahead(known[4], now, 86400000) then return 0, 'retry_after', known[4] + 0, false end
  free = most - running
  if known[1] == 'open' then
    if is_ahead(known[2], now, open_ms) then return 0, 'circuit_open', known[2] + 0, false end
    local ends = known[3] and redis.call('ZSCORE', leases, known[3])
    if is_ahead(ends, now, lease_ms) and not own(known[3]) then
      return 0, 'circuit_half_open', now + 1000, false
    end
    free, probes = math.min(free, 1), true
  end
  if free <= 0 then return 0, 'concurrency', now + 1000, probes end
  local started = per > 0 and redis.call('ZCOUNT', rate, '(' .. now - window, now) or 0
  if per > 0 and started >= per then
    local oldest = redis.call('ZRANGEBYSCORE', rate, '(' .. now - window, now, 'WITHSCORES', 'LIMIT', started - per, 1)
    return 0, 'rate', oldest[2] + window, probes
  end
  return per > 0 and math.min(free, per - started) or free, nil, now, probes
end
local function promised(now, known)
  return is_ahead(known[9], now, 10000) and tonumber(known[8]) or 0
end
