-- walk: entries of a stream in small pieces, until a script has read what one call may read: `budget`
--   bytes. A record has at most some 64 KiB, so a piece of 16 goes beyond it by 1 MiB at most.
--   `cut`: the last walk ended before its stream did.
--   `for entry, fields in walk('XRANGE', key, from, to, most) do`; `from` may begin with `(`.
local budget, cut, largest = 1048576, false, 1
local function charge(fields)
  local size = 0
  for k = 1, #fields do size = size + #fields[k] end
  budget, largest = budget - size, math.max(largest, size)
end
local function walk(command, key, from, to, most)
  local piece, at, size, left = {}, 0, 0, most
  cut, largest = false, 1
  return function()
    if budget <= 0 then cut = true; return nil end
    if at == #piece then
      if at < size then return nil end
      if at > 0 then from = '(' .. piece[at][1] end
      size = math.min(left, size == 0 and 1 or math.max(1, math.min(16, math.floor(budget / largest))))
      if size == 0 then cut = true; return nil end
      piece, at, left = redis.call(command, key, from, to, 'COUNT', size), 0, left - size
      if #piece == 0 then return nil end
    end
    at = at + 1
    charge(piece[at][2])
    return piece[at][1], piece[at][2]
  end
end
