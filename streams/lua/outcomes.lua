#!lua flags=no-writes
-- outcomes: many jobs at once. detail: `state`; `result` also shows the records of ended jobs, `data`
--   those of all.
--   answers word, then per id {} (no such job), {state}, or {state, place, fields}: of fewer ids than
--   were asked for when their records have more than 1 MiB
-- from: any
-- to: any
-- keys: @lanes jobs delayed delayed_jobs completed dead
-- args: detail list...
-- replies: OK
local reply, ids, reached, room = {'OK'}, {}, {}, 1048576
for k = list, #ARGV do ids[#ids + 1] = ARGV[k] end
if #ids == 0 then return reply end
local function delivered(lane)
  if not reached[lane] then
    local groups = redis.pcall('XINFO', 'GROUPS', KEYS[lane + 2])
    reached[lane] = not groups.err and groups[1] and groups[1][8] or '0-0'
  end
  return reached[lane]
end
local function upto(a, b)
  local a_ms, a_n = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_n = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return tonumber(a_ms) < tonumber(b_ms) end
  return tonumber(a_n) <= tonumber(b_n)
end
local places = redis.call('HMGET', jobs, unpack(ids))
for k = 1, #ids do
  local id, row, fields = ids[k], {}, nil
  if places[k] then
    local kind, entry = string.match(places[k], '^(%w+):?(.*)$')
    local lane = kind == 'b' and -1 or tonumber(kind)
    if kind == 'd' then row[1] = 'delayed'
    elseif kind == 'c' then row[1] = 'completed'
    elseif kind == 'f' then row[1] = 'failed'
    else row[1] = upto(entry, delivered(lane)) and 'active' or 'waiting' end
    if detail == 'data' and kind == 'd' then
      entry = string.format('%.0f', redis.call('ZSCORE', delayed, id) % 1e13)
      fields = {'j', id, 'p', redis.call('HGET', delayed_jobs, id)}
    elseif detail == 'data' or detail == 'result' and (kind == 'c' or kind == 'f') then
      local key = kind == 'c' and completed or kind == 'f' and dead or KEYS[lane + 2]
      local found = redis.call('XRANGE', key, entry, entry)
      if found[1] then fields = found[1][2] else row = {} end
    end
    if fields then
      row[2], row[3] = entry, fields
      for f = 1, #fields do room = room - #(fields[f] or '') end
    end
  end
  reply[#reply + 1] = row
  if room <= 0 then break end
end
return reply
