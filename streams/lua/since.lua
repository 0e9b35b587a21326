#!lua flags=no-writes
-- since: what happened after an entry of an event stream, oldest first, of at most `most` entries and
--   about 1 MiB; nothing when most is 0.
--   answers word, id of the newest entry ever, entries. GAP: some that followed `after` are gone,
--   or the stream is not the one it was and ends before `after`
-- from: any
-- to: any
-- keys: events
-- args: after most
-- replies: OK GAP
-- uses: walk
local function before(a, b)
  local a_ms, a_n = string.match(a, '^(%d+)-(%d+)$')
  local b_ms, b_n = string.match(b, '^(%d+)-(%d+)$')
  if a_ms ~= b_ms then return tonumber(a_ms) < tonumber(b_ms) end
  return tonumber(a_n) < tonumber(b_n)
end
local length = redis.call('XLEN', events)
local info, about = redis.pcall('XINFO', 'STREAM', events), {}
if info.err then info = {'last-generated-id', '0-0', 'entries-added', 0} end
for k = 1, #info, 2 do about[info[k]] = info[k + 1] end
local last = about['last-generated-id']
if most == '0' then return {'OK', last, {}} end
if before(last, after) then return {'GAP', last, {}} end
local found = {}
for entry, fields in walk('XRANGE', events, '(' .. after, '+', tonumber(most)) do
  found[#found + 1] = {entry, fields}
end
local first = length > 0 and about['first-entry'][1] or last
if about['entries-added'] > length and before(after, first) then
  return {'GAP', last, found}
end
return {'OK', last, found}
