-- lay: a job that ended without a result lies in the dead letters, or is only remembered if its
--   flags say so (F); `trace` is what is remembered.
-- needs: remember jobs dead expiry_dead blobs run
local function lay(id, header, flags, record, trace, now)
  if string.find(flags, 'F', 1, true) then
    redis.call('HDEL', jobs, id)
    redis.call('HDEL', blobs, id .. ':d', id .. ':r')
    redis.call('HDEL', run, id .. ':p', id .. ':l', id .. ':a', id .. ':m', id .. ':c')
    remember({id, trace}, now)
    return
  end
  local grave = redis.call('XADD', dead, '*', 'j', id, 'h', header, unpack(record))
  redis.call('HSET', jobs, id, 'f:' .. grave)
  local age = string.match(flags, 'X(%d+)')
  if age then redis.call('ZADD', expiry_dead, now + age, grave)
  elseif string.find(flags, 'L', 1, true) then redis.call('ZADD', expiry_dead, '+inf', grave) end
end
