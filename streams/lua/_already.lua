-- already: was this job moved on by this very claim (its reply was lost), or is it someone else's?
-- needs: @lanes delayed_jobs completed dead gone_jobs
local function already(place, id, from)
  local header
  local kind, entry = string.match(place or '', '^(%w+):?(.*)$')
  if not kind then
    header = redis.call('HGET', gone_jobs, id)
    return header and string.sub(header, -#from - 1) == '|' .. from and 'ALREADY' or 'LOST'
  elseif kind == 'd' then header = redis.call('HGET', delayed_jobs, id)
  else
    local at = kind == 'c' and completed or kind == 'f' and dead or KEYS[(kind == 'b' and -1 or kind) + 2]
    local found = redis.call('XRANGE', at, entry, entry)
    header = found[1] and found[1][2][4]
  end
  return header and string.find(header, ':' .. from .. ':', 1, true) and 'ALREADY' or 'LOST'
end
