-- parts: the header, the body, and then names and values of a packed record.
local function parts(record)
  local found, from = {}, 1
  repeat
    local at = string.find(record, '\0', from, true)
    found[#found + 1] = string.sub(record, from, at and at - 1 or -1)
    from = at and at + 1
  until not from
  return found
end
