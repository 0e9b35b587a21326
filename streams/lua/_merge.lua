-- merge: delayed jobs in the order they become due, from behind the job at `cursor` (`<due> <id>`, which
--   may be gone by now), at most `most` of them. In `delayed` they lie by priority, then due time.
--   Ids are compared byte by byte, as Redis does; `<` follows the locale of the server.
--   answers a function: the next due time and id, nothing at the end
-- needs: delayed
local function merge(cursor, most)
  local function exact(number) return string.format('%.0f', number) end
  local function before(score) return redis.call('ZCOUNT', delayed, '-inf', '(' .. exact(score)) end
  local function less(a, b)
    for k = 1, math.min(#a, #b) do
      local x, y = string.byte(a, k), string.byte(b, k)
      if x ~= y then return x < y end
    end
    return #a < #b
  end
  local due, seen = string.match(cursor, '^(%S+) (.*)$')
  local bands, finish = {}, 0
  for priority = 0, 10 do
    local base, from = priority * 1e13, finish
    finish = before(base + 1e13)
    if finish > from and due then
      from = before(base + due)
      local beyond = from + redis.call('ZCOUNT', delayed, base + due, base + due)
      while from < beyond do
        local middle = math.floor((from + beyond) / 2)
        if less(seen, redis.call('ZRANGE', delayed, middle, middle)[1]) then beyond = middle
        else from = middle + 1 end
      end
    end
    local last = math.min(from + most, finish) - 1
    if last >= from then
      bands[#bands + 1] = {at = 1, base = base, redis.call('ZRANGE', delayed, from, last, 'WITHSCORES')}
    end
  end
  return function()
    local best, soonest, first
    for k = 1, #bands do
      local band, list = bands[k], bands[k][1]
      local id = list[band.at]
      local at = id and list[band.at + 1] - band.base
      if id and (not best or at < soonest or at == soonest and less(id, first)) then
        best, soonest, first = band, at, id
      end
    end
    if not best then return nil end
    best.at = best.at + 2
    return exact(soonest), first
  end
end
