-- bury: a pending entry ends in the dead letters without its worker's help.
--   `~` in its origin: whoever held it last did not end it, and is to be told LOST, not ALREADY.
-- needs: outbox cancel, and what lay needs
local function bury(lane, entry, fields, reason, message, now)
  local id, header, history = fields[2], fields[4], nil
  local record = {}
  for k = 5, #fields, 2 do
    if fields[k] == 'x' then history = fields[k + 1]
    else record[#record + 1] = fields[k]; record[#record + 1] = fields[k + 1] end
  end
  local layout, priority, made, started, stalled, endings, flags, expires, added =
    string.match(header, '^(%d+):(%d+):(%d+):(%d+):(%d+):(%d+):(%w*):(%d*):[^:]*:(%d+)')
  if reason == 'stalled' then started = started + 1; stalled = stalled + 1 end
  local nonce = string.match(header, '^' .. string.rep('[^:]*:', 11) .. '([^:]*)') or ''
  local from = '~' .. lane .. '.' .. entry
  header = layout .. ':' .. priority .. ':' .. made .. ':' .. started .. ':' .. stalled .. ':'
    .. endings + 1 .. ':' .. flags .. ':' .. expires .. ':' .. from .. ':' .. added .. ':' .. now
  local item = '{"attempt":' .. made + 1 .. ',"reason":"' .. reason .. '","message":"' .. message
    .. '","at":' .. now .. '}'
  record[#record + 1] = 'x'
  record[#record + 1] = history and string.sub(history, 1, -2) .. ',' .. item .. ']' or '[' .. item .. ']'
  if lane ~= 'd' then
    redis.call('XACK', KEYS[lane + 2], 'workers', entry)
    redis.call('XDEL', KEYS[lane + 2], entry)
  end
  redis.call('HDEL', cancel, id)
  lay(id, header, flags, record, nonce .. '|' .. now .. '|' .. from, now)
  if string.find(flags, 'C', 1, true) then
    redis.call('XADD', outbox, '*', 'j', id, 'h', header, unpack(record))
  end
end
