#!lua flags=allow-oom
-- dest_settle: a delivery is over; its lease is free, and the circuit breaker knows one more outcome
--   (success, failure, neutral: says nothing about the destination, gone: never again).
--   `window` counts by tenths of window_ms: fields `<tenth>+` and `<tenth>-`.
--   answers word, what the destination became (opened closed disabled, '' nothing), why
-- from: any
-- to: any
-- keys: about leases window history audit
-- args: lease outcome defer_ms lease_ms window_ms requests percent open_ms openings forget_ms who
-- replies: OK ALREADY
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local known = redis.call('HMGET', about, 'state', 'probe', 'openings', 'not_before', 'mean', 'kept')
local ends = redis.call('ZSCORE', leases, lease)
local counted = redis.call('HGETALL', window)
redis.call('XLEN', history); redis.call('XLEN', audit)
local state, opened = known[1] or 'closed', tonumber(known[3] or 0)
local probe = state == 'open' and known[2] == lease

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
    if string.sub(counted[k], 1, -2) + 0 <= tenth - 10 then stale[#stale + 1] = counted[k]
    elseif string.sub(counted[k], -1) == '+' then good = good + counted[k + 1]
    else bad = bad + counted[k + 1] end
  end
  if outcome == 'failure' and good + bad >= requests + 0 and bad * 100 >= percent * (good + bad) then
    opened = opened + 1
    became, why = 'opened', bad .. ' of ' .. (good + bad) .. ' deliveries failed'
  end
end
if became == 'opened' and opened >= openings + 0 then became, why = 'disabled', 'failing' end

if ends then
  redis.call('ZREM', leases, lease)
  local took = math.max(0, now - (ends - lease_ms))
  redis.call('HSET', about, 'mean', known[5] and string.format('%.1f', known[5] * 0.8 + took * 0.2)
    or took, 'last_' .. outcome, now)
  redis.call('HINCRBY', about, outcome, 1)
  if became == '' and state == 'closed' and (outcome == 'success' or outcome == 'failure') then
    if #stale > 0 then redis.call('HDEL', window, unpack(stale)) end
    redis.call('HINCRBY', window, tenth .. (outcome == 'success' and '+' or '-'), 1)
    redis.call('PEXPIRE', window, 2 * window_ms)
  end
end
if defer_ms + 0 > 0 and now + defer_ms > tonumber(known[4] or 0) then
  redis.call('HSET', about, 'not_before', string.format('%.0f', now + defer_ms))
end
if not known[6] then redis.call('PEXPIRE', about, forget_ms) end
if became ~= '' then
  redis.call('DEL', window)
  redis.call('HDEL', about, 'probe')
  if became == 'closed' then redis.call('HDEL', about, 'state', 'until', 'openings', 'reason', 'pace')
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
return {ends and 'OK' or 'ALREADY', became, why}
