-- held: which of these claims are still ours; reads entries, writes nothing.
--   answers per job the entry's fields, or the word ALREADY or LOST
-- needs: @lanes jobs
local function held(lanes_of, entries, ids)
  local places, found = redis.call('HMGET', jobs, unpack(ids)), {}
  for k = 1, #ids do
    local lane, entry = lanes_of[k], entries[k]
    if places[k] == (lane == '-1' and 'b:' or lane .. ':') .. entry then
      local read = redis.call('XRANGE', KEYS[lane + 2], entry, entry)
      found[k] = read[1] and read[1][2] or 'LOST'
    else
      found[k] = already(places[k], ids[k], lane .. '.' .. entry)
    end
  end
  return found
end
