#!lua flags=no-writes
-- outbox: the oldest endings from `begin` on that owe a callback, at most `most` and about 1 MiB of
--   them (read one by one, because one has up to 8 MiB); answers word, 1 if there are more, entries
-- from: any
-- to: any
-- keys: outbox
-- args: begin most
-- replies: OK
local budget, from, entries = 1048576, begin, {}
while #entries < tonumber(most) and budget > 0 do
  local found = redis.call('XRANGE', outbox, from, '+', 'COUNT', 1)[1]
  if not found then return {'OK', 0, entries} end
  entries[#entries + 1] = found
  from = '(' .. found[1]
  for k = 1, #found[2] do budget = budget - #found[2][k] end
end
return {'OK', 1, entries}
