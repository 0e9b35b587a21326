-- retime: after the clock went back, claims were made at times to come, and no lease of theirs would end
--   before that. They count as made now, 500 a call; `retime` in meta says how far that has come.
--   answers whether claims are left
-- needs: @lanes meta; that the lanes have been read before
local function retime(from)
  local lane, after = string.match(from, '^(%S+) (%S+)$')
  local room = 500
  lane = tonumber(lane)
  while lane <= 11 and room > 0 do
    local groups = redis.pcall('XINFO', 'GROUPS', KEYS[lane + 2])
    local found = not groups.err and groups[1]
      and redis.call('XPENDING', KEYS[lane + 2], 'workers', after, '+', room) or {}
    local by_worker = {}
    for k = 1, #found do
      local mine = by_worker[found[k][2]] or {}
      by_worker[found[k][2]], mine[#mine + 1] = mine, found[k][1]
    end
    for worker, entries in pairs(by_worker) do
      local call = {'XCLAIM', KEYS[lane + 2], 'workers', worker, 0, unpack(entries)}
      call[#call + 1] = 'JUSTID'
      redis.call(unpack(call))
    end
    room = room - #found
    if room > 0 then lane, after = lane + 1, '-' else after = '(' .. found[#found][1] end
  end
  if lane <= 11 then redis.call('HSET', meta, 'retime', lane .. ' ' .. after)
  else redis.call('HDEL', meta, 'retime') end
  return lane <= 11
end
