-- held: which of the claims in ARGV are still ours; reads entries, writes nothing. A claim is
--   (lane entry id ...), the first at `first`, the next `stride` further on.
--   `token` names the worker that held it.
--   answers per claim the entry's fields, or the word ALREADY or LOST; then lanes, entries, ids
-- needs: @lanes jobs, and what already needs
local function held(first, stride, token)
  local lanes_of, entries, ids, found = {}, {}, {}, {}
  for i = first, #ARGV, stride do
    lanes_of[#lanes_of + 1] = ARGV[i]; entries[#entries + 1] = ARGV[i + 1]; ids[#ids + 1] = ARGV[i + 2]
  end
  local places = redis.call('HMGET', jobs, unpack(ids))
  for k = 1, #ids do
    local lane, entry = lanes_of[k], entries[k]
    if places[k] == (lane == '-1' and 'b:' or lane .. ':') .. entry then
      local read = redis.call('XRANGE', KEYS[lane + 2], entry, entry)
      found[k] = read[1] and read[1][2] or 'LOST'
    else
      found[k] = already(places[k], ids[k], lane .. '.' .. entry .. '.' .. token)
    end
  end
  return found, lanes_of, entries, ids
end
