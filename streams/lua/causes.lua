#!lua flags=no-writes
-- causes: one hop along the dead letters, newest first, of at most `take` and about 1 MiB: why each of
--   them died, without its payload. A history is cut to its end.
--   answers word, how many lie there, the id of the last that ever came, cursor to go on from ('' at
--   the end), then per job its id, header, name in JSON, history
-- from: failed
-- to: failed
-- keys: dead
-- args: cursor take
-- replies: OK
-- uses: walk
local info = redis.pcall('XINFO', 'STREAM', dead)
if info.err then return {'OK', 0, '0-0', ''} end
local last = '0-0'
for k = 1, #info, 2 do if info[k] == 'last-generated-id' then last = info[k + 1] end end
local reply = {'OK', redis.call('XLEN', dead), last, ''}
if tonumber(take) == 0 then return reply end
local place
for entry, fields in walk('XREVRANGE', dead, cursor == '' and '+' or '(' .. cursor, '-', tonumber(take)) do
  local name, history = '', ''
  place = entry
  for f = 5, #fields, 2 do
    if fields[f] == 'b' then name = string.match(fields[f + 1], '^{"name":("[^"\\]*")') or ''
    elseif fields[f] == 'x' then history = string.sub(fields[f + 1], -2600) end
  end
  for _, item in ipairs({fields[2], fields[4], name, history}) do reply[#reply + 1] = item end
end
if cut then reply[4] = place end
return reply
