#!lua flags=no-writes
-- page: one bounded hop along the jobs of a state. Passes over `skip` jobs from `cursor`, then
--   answers up to `take`. completed, failed: newest first; the rest in the order they run or become due.
--   answers word, cursor to go on from ('' at the end), skipped, lane or stream entries
-- from: any
-- to: any
-- keys: @lanes completed dead delayed delayed_jobs
-- args: state cursor skip take
-- replies: OK
local most = math.min(skip + take, 500)
local wanted, passed, rows = skip + 0, 0, {}
if state == 'completed' or state == 'failed' then
  local page = redis.call('XREVRANGE', state == 'completed' and completed or dead,
    cursor == '' and '+' or '(' .. cursor, '-', 'COUNT', most)
  for k = 1, #page do
    if passed < wanted then passed = passed + 1 else rows[#rows + 1] = page[k] end
  end
  return {'OK', #page == most and page[#page][1] or '', passed, rows}
elseif state == 'delayed' then
  local from = cursor == '' and 0 or cursor + 0
  local ids = redis.call('ZRANGE', delayed, from + skip, from + skip + take - 1, 'WITHSCORES')
  for k = 1, #ids, 2 do
    rows[#rows + 1] = {ids[k + 1], {'j', ids[k], 'p', redis.call('HGET', delayed_jobs, ids[k])}}
  end
  return {'OK', #ids == take * 2 and tostring(from + skip + take) or '', wanted, rows}
end
local start, after = string.match(cursor, '^(%-?%d+) (.*)$')
start = tonumber(start or -1)
for n = start, 10 do
  local key = KEYS[n + 2]
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  local last = not groups.err and groups[1] and groups[1][8] or '0-0'
  local from = n == start and after and '(' .. after or (state == 'waiting' and '(' .. last or '-')
  local room = most - passed - #rows
  local page = {}
  if state == 'waiting' then
    page = redis.call('XRANGE', key, from, '+', 'COUNT', room)
  elseif not groups.err and groups[1] then
    page = redis.call('XPENDING', key, 'workers', from, '+', room)
  end
  for k = 1, #page do
    local entry = page[k][1]
    if passed < wanted then passed = passed + 1
    elseif state == 'waiting' then rows[#rows + 1] = page[k]
    else
      local found = redis.call('XRANGE', key, entry, entry)
      if found[1] then rows[#rows + 1] = {entry .. ' ' .. page[k][2] .. ' ' .. page[k][3], found[1][2]} end
    end
  end
  if #page == room then return {'OK', n .. ' ' .. page[#page][1], passed, rows} end
end
return {'OK', '', passed, rows}
