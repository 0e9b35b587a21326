#!lua flags=no-writes
-- page: one bounded hop along the jobs of a state. Passes over `skip` jobs from `cursor`, then
--   answers up to `take`. completed, failed: newest first; the rest in the order they run or become due.
--   answers word, cursor to go on from ('' at the end), skipped, entries (of lanes: with the lane)
--   A cursor is the place of a job: `<entry>`, `<lane> <entry>`, delayed: `<due> <id>`.
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
  local from, score, seen = 0, string.match(cursor, '^(%S+) (.*)$')
  if score then
    -- Behind the job at the cursor, also when it is gone by now: among jobs due together by halves.
    from = redis.call('ZCOUNT', delayed, '-inf', '(' .. score)
    local beyond = from + redis.call('ZCOUNT', delayed, score, score)
    while from < beyond do
      local middle = math.floor((from + beyond) / 2)
      if redis.call('ZRANGE', delayed, middle, middle)[1] > seen then beyond = middle else from = middle + 1 end
    end
  end
  local first = from + skip - (take == '0' and 1 or 0)
  local ids = redis.call('ZRANGE', delayed, first, from + most - 1, 'WITHSCORES')
  for k = 1, take == '0' and 0 or #ids, 2 do
    rows[#rows + 1] = {ids[k + 1], {'j', ids[k], 'p', redis.call('HGET', delayed_jobs, ids[k])}}
  end
  local full = #ids > 0 and first + #ids / 2 == from + most
  return {'OK', full and ids[#ids] .. ' ' .. ids[#ids - 1] or '', wanted, rows}
end
local function later(a, b)
  local a_ms, a_n = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_n = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return tonumber(a_ms) > tonumber(b_ms) and a or b end
  return tonumber(a_n) > tonumber(b_n) and a or b
end
local start, after = string.match(cursor, '^(%-?%d+) (.*)$')
start = tonumber(start or -1)
for n = start, 10 do
  local key = KEYS[n + 2]
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  local last = not groups.err and groups[1] and groups[1][8] or '0-0'
  local from = state == 'waiting' and '(' .. last or '-'
  if n == start and after then from = '(' .. (state == 'waiting' and later(after, last) or after) end
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
    elseif state == 'waiting' then rows[#rows + 1] = {entry, page[k][2], n}
    else
      local found = redis.call('XRANGE', key, entry, entry)
      if found[1] then rows[#rows + 1] = {entry .. ' ' .. page[k][2] .. ' ' .. page[k][3], found[1][2], n} end
    end
  end
  if #page == room then return {'OK', n .. ' ' .. page[#page][1], passed, rows} end
end
return {'OK', '', passed, rows}
