-- lane_of: where a record waits: with the suspects once a worker died of it, else by its priority, or
--   in `otherwise`.
local function lane_of(header, otherwise)
  local priority, stalled = string.match(header, '^%d+:(%d+):%d+:%d+:(%d+)')
  return stalled ~= '0' and '11' or otherwise or priority
end
