#!lua flags=no-writes
-- page: one bounded hop along the jobs of a state. Passes over `skip` jobs from `cursor`, then
--   answers up to `take`, together at most 500 jobs and about 1 MiB. completed, failed: newest first;
--   the rest in the order they run or become due.
--   answers word, cursor to go on from ('' at the end), skipped, entries (of lanes: with the lane)
--   A cursor is the place of a job: `<entry>`, `<lane> <entry>`, delayed: `<due> <id>`.
-- from: any
-- to: any
-- keys: @lanes completed dead delayed delayed_jobs
-- args: state cursor skip take
-- replies: OK
-- uses: walk merge
local most = math.min(skip + take, 500)
local wanted, passed, rows, place = skip + 0, 0, {}, ''
if state == 'completed' or state == 'failed' then
  local stream = state == 'completed' and completed or dead
  for entry, fields in walk('XREVRANGE', stream, cursor == '' and '+' or '(' .. cursor, '-', most) do
    place = entry
    if passed < wanted then passed = passed + 1 else rows[#rows + 1] = {entry, fields} end
  end
  return {'OK', cut and place or '', passed, rows}
elseif state == 'delayed' then
  local following = merge(cursor, most)
  for _ = 1, most do
    local due, id = following()
    if not due then return {'OK', '', passed, rows} end
    place = due .. ' ' .. id
    if passed < wanted then passed = passed + 1
    else
      local record = redis.call('HGET', delayed_jobs, id)
      if record then
        rows[#rows + 1] = {due, {'j', id, 'p', record}}
        charge({record})
      end
      if budget <= 0 then break end
    end
  end
  return {'OK', place, passed, rows}
end
local function later(a, b)
  local a_ms, a_n = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_n = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return tonumber(a_ms) > tonumber(b_ms) and a or b end
  return tonumber(a_n) > tonumber(b_n) and a or b
end
local start, after = string.match(cursor, '^(%-?%d+) (.*)$')
start = tonumber(start or -1)
for n = start, 11 do
  local key = KEYS[n + 2]
  local groups = redis.pcall('XINFO', 'GROUPS', key)
  local grouped = not groups.err and groups[1]
  local last = grouped and groups[1][8] or '0-0'
  local from = state == 'waiting' and '(' .. last or '-'
  if n == start and after then from = '(' .. (state == 'waiting' and later(after, last) or after) end
  if state == 'waiting' then
    for entry, fields in walk('XRANGE', key, from, '+', most - passed - #rows) do
      place = n .. ' ' .. entry
      if passed < wanted then passed = passed + 1 else rows[#rows + 1] = {entry, fields, n} end
    end
  elseif grouped then
    local room = most - passed - #rows
    local page = redis.call('XPENDING', key, 'workers', from, '+', room)
    cut = #page == room
    for k = 1, #page do
      local entry = page[k][1]
      if passed < wanted then passed = passed + 1
      else
        local found = redis.call('XRANGE', key, entry, entry)[1]
        if found then
          rows[#rows + 1] = {entry .. ' ' .. page[k][2] .. ' ' .. page[k][3], found[2], n}
          charge(found[2])
        end
      end
      place = n .. ' ' .. entry
      if budget <= 0 then cut = true; break end
    end
  end
  if cut then return {'OK', place, passed, rows} end
end
return {'OK', '', passed, rows}
