-- walk: entries of a stream in small pieces, until a script has read what one call may read: `budget`
--   bytes (1 MiB; reading 1 MiB holds Redis for about 5 ms). A record has at most some 64 KiB, so a
--   piece of 16 goes beyond it by 1 MiB at most. `cut`: the last walk ended before its stream did.
--   `for entry, fields in walk('XRANGE', key, from, to, most) do`; from may begin with `(`
local budget, cut = 1048576, false
local function charge(fields)
  for k = 1, #fields do budget = budget - #fields[k] end
end
local function walk(command, key, from, to, most)
  local piece, at, size, left = {}, 1, 1, most
  cut = false
  return function()
    if at > #piece then
      if at > 1 and #piece < size then return nil end
      if at > 1 then from = '(' .. piece[#piece][1]; size = 16 end
      size = math.min(size, left)
      if size == 0 or budget <= 0 then cut = true; return nil end
      piece, at, left = redis.call(command, key, from, to, 'COUNT', size), 1, left - size
      for k = 1, #piece do charge(piece[k][2]) end
      if #piece == 0 then return nil end
    end
    at = at + 1
    return piece[at - 1][1], piece[at - 1][2]
  end
end
