#!lua flags=allow-oom
-- tick: adds to what the running minute has seen. `minutes` is a ring of 1,440 slots, one for each
--   minute of a day: `<epoch minute> <name>:<count> ...`; a slot of another day is overwritten.
--   Jobs that completed (c) and failed (f) also count in `ended:c`, `ended:f` of meta, from the first on.
--   answers word, epoch minute
-- from: any
-- to: any
-- keys: minutes meta
-- args: keep_ms counts...
-- replies: OK
local minute = math.floor(redis.call('TIME')[1] / 60)
local slot = minute % 1440
local stored = redis.call('HGET', minutes, slot)
local seen, order = {}, {}
redis.call('HLEN', meta)
if stored and string.match(stored, '^%d+') == tostring(minute) then
  for name, count in string.gmatch(stored, ' (%a%d*):(%d+)') do
    seen[name] = tonumber(count); order[#order + 1] = name
  end
end
for k = counts, #ARGV, 2 do
  local name = ARGV[k]
  if name == 'c' or name == 'f' then redis.call('HINCRBY', meta, 'ended:' .. name, ARGV[k + 1]) end
  if not seen[name] then order[#order + 1] = name end
  seen[name] = (seen[name] or 0) + ARGV[k + 1]
end
for k = 1, #order do order[k] = order[k] .. ':' .. string.format('%.0f', seen[order[k]]) end
redis.call('HSET', minutes, slot, minute .. ' ' .. table.concat(order, ' '))
redis.call('PEXPIRE', minutes, keep_ms)
return {'OK', minute}
