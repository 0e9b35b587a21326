-- purge: ended jobs disappear with everything they own. rows: (entry id)*
--   weigh: freeing a payload or a result that was put aside costs about an eighth of reading it.
-- needs: walk remember jobs blobs run
local function weigh(id, header)
  if string.find(string.match(header, '^' .. string.rep('[^:]*:', 6) .. '(%w*)'), '[BR]') then
    local size = redis.call('HSTRLEN', blobs, id .. ':d') + redis.call('HSTRLEN', blobs, id .. ':r')
    budget = budget - size / 8
  end
end
local function purge(stream, expiry, rows, now)
  local entries, ids, owned, traces, dropped = {}, {}, {}, {}, {}
  for k = 1, #rows, 2 do
    local id = rows[k + 1]
    entries[#entries + 1] = rows[k]; ids[#ids + 1] = id
    owned[#owned + 1] = id .. ':d'; owned[#owned + 1] = id .. ':r'
    traces[#traces + 1] = id .. ':p'; traces[#traces + 1] = id .. ':l'
    traces[#traces + 1] = id .. ':a'; traces[#traces + 1] = id .. ':m'
    traces[#traces + 1] = id .. ':c'
    if string.sub(id, 1, 4) == '~cb:' then
      dropped[#dropped + 1] = id; dropped[#dropped + 1] = id .. '|' .. now .. '|'
    end
  end
  if #ids == 0 then return end
  remember(dropped, now)
  redis.call('XDEL', stream, unpack(entries))
  redis.call('HDEL', jobs, unpack(ids))
  if redis.call('ZCARD', expiry) > 0 then redis.call('ZREM', expiry, unpack(entries)) end
  if redis.call('HLEN', blobs) > 0 then redis.call('HDEL', blobs, unpack(owned)) end
  if redis.call('HLEN', run) > 0 then redis.call('HDEL', run, unpack(traces)) end
end
