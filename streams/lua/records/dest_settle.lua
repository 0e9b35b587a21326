#!lua flags=allow-oom
-- dest_settle: a delivery is over; its lease is free, and the circuit breaker knows one more outcome
--   (success, failure, neutral: says nothing about the destination, gone: never again).
--   `window` counts by tenths of window_ms: fields `<tenth>+` and `<tenth>-`.
--   The places that are free now are promised to jobs that are parked for it, as `dest_look` does.
--   answers word, what the destination became (opened closed disabled, '' nothing), why, how many of
--   the parked jobs may come
-- from: any
-- to: any
-- keys: about leases rate window history audit
-- args: lease outcome defer_ms lease_ms limit rate_max rate_ms window_ms requests percent open_ms openings forget_ms who
-- replies: OK ALREADY
-- uses: room
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', about, 'state', 'until', 'probe', 'not_before', 'limit', 'rate_max',
  'rate_ms', 'promised', 'promised_until', 'kept', 'openings', 'parked')
local ends = redis.call('ZSCORE', leases, lease)
local counted = redis.call('HGETALL', window)
redis.call('XLEN', history); redis.call('XLEN', audit)
local state, opened = known[1] or 'closed', tonumber(known[11] or 0)
local probe = state == 'open' and known[3] == lease

local became, why = '', ''
if outcome == 'gone' and state ~= 'disabled' then
  became, why = 'disabled', 'gone'
elseif ends and probe and outcome == 'success' then
  became, why = 'closed', 'probe succeeded'
elseif ends and probe and outcome == 'failure' then
  opened = opened + 1
  became, why = 'opened', 'probe failed'
end

local tenth = math.floor(now * 10 / window_ms)
local stale = {}
if ends and state == 'closed' and (outcome == 'success' or outcome == 'failure') then
  local good, bad = outcome == 'success' and 1 or 0, outcome == 'failure' and 1 or 0
  for k = 1, #counted, 2 do
    local at = string.sub(counted[k], 1, -2) + 0
    if at <= tenth - 10 or at > tenth then stale[#stale + 1] = counted[k]
    elseif string.sub(counted[k], -1) == '+' then good = good + counted[k + 1]
    else bad = bad + counted[k + 1] end
  end
  if outcome == 'failure' and good + bad >= requests + 0 and bad * 100 >= percent * (good + bad) then
    opened = opened + 1
    became, why = 'opened', bad .. ' of ' .. (good + bad) .. ' deliveries failed'
  end
end
if became == 'opened' and opened >= openings + 0 then became, why = 'disabled', 'failing' end

local not_before = known[4]
if defer_ms + 0 > 0 and now + defer_ms > (is_ahead(not_before, now, 86400000) and not_before + 0 or 0) then
  not_before = string.format('%.0f', now + defer_ms)
end
local more, has = 0, promised(now, known)
if known[12] and known[12] + 0 > 0 and (became == '' and state ~= 'disabled' or became == 'closed') then
  local running = redis.call('ZCOUNT', leases, '(' .. now, now + lease_ms)
  if is_ahead(ends, now, lease_ms + 0) then running = running - 1 end
  local after = {became == '' and state or 'closed', known[2], known[3], not_before, unpack(known, 5, 7)}
  local free = room(now, after, running, function(name) return name == lease end)
  more = math.max(0, math.min(free - has, known[12] + 0))
end
redis.call('ZCARD', rate)

if ends then
  redis.call('ZREM', leases, lease)
  redis.call('HSET', about, 'last_' .. outcome, now)
  redis.call('HINCRBY', about, outcome, 1)
  if became == '' and state == 'closed' and (outcome == 'success' or outcome == 'failure') then
    if #stale > 0 then redis.call('HDEL', window, unpack(stale)) end
    redis.call('HINCRBY', window, tenth .. (outcome == 'success' and '+' or '-'), 1)
    redis.call('PEXPIRE', window, 2 * window_ms)
  end
end
if not_before ~= known[4] then redis.call('HSET', about, 'not_before', not_before) end
if more > 0 then
  redis.call('HINCRBY', about, 'parked', -more)
  redis.call('HSET', about, 'promised', has + more)
  if has == 0 then redis.call('HSET', about, 'promised_until', now + 10000) end
end
if not known[10] then redis.call('PEXPIRE', about, forget_ms) end
if became ~= '' then
  redis.call('DEL', window)
  redis.call('HDEL', about, 'probe')
  if became == 'closed' then redis.call('HDEL', about, 'state', 'until', 'openings', 'reason')
  elseif became == 'opened' then
    redis.call('HSET', about, 'state', 'open', 'reason', why, 'openings', opened, 'until',
      string.format('%.0f', now + open_ms))
  else
    redis.call('HSET', about, 'state', 'disabled', 'reason', why, 'openings', opened, 'kept', 1)
    redis.call('PERSIST', about)
    redis.call('XADD', audit, '*', 'a', who)
  end
  redis.call('XADD', history, 'MAXLEN', 50, '*', 'e', became, 'r', why)
  redis.call('PEXPIRE', history, forget_ms)
end
return {ends and 'OK' or 'ALREADY', became, why, more}
