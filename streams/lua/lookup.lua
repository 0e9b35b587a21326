#!lua flags=no-writes
-- lookup: everything about one job, the first of these ids that there is, but what lies in `blobs`.
--   answers word, state, entry or due time, fields, progress, log, attempts, memory, callbacks
-- from: any
-- to: any
-- keys: @lanes jobs delayed delayed_jobs completed dead run
-- args: list...
-- replies: OK MISSING
local places, id, place = redis.call('HMGET', jobs, unpack(ARGV, list)), nil, nil
for k = #places, 1, -1 do
  if places[k] then id, place = ARGV[list + k - 1], places[k] end
end
if not place then return {'MISSING'} end
local kind, entry = string.match(place, '^(%w+):?(.*)$')
local state, fields
if kind == 'd' then
  state, entry = 'delayed', string.format('%.0f', redis.call('ZSCORE', delayed, id) % 1e13)
  fields = {'j', id, 'p', redis.call('HGET', delayed_jobs, id)}
else
  local key = kind == 'c' and completed or kind == 'f' and dead or KEYS[(tonumber(kind) or -1) + 2]
  local found = redis.call('XRANGE', key, entry, entry)
  if not found[1] then return {'MISSING'} end
  fields = found[1][2]
  if kind == 'c' then state = 'completed' elseif kind == 'f' then state = 'failed'
  else
    local held = redis.pcall('XPENDING', key, 'workers', entry, entry, 1)
    state = held[1] and 'active' or 'waiting'
    if held[1] then entry = entry .. ' ' .. held[1][2] .. ' ' .. held[1][3] end
  end
end
local told = redis.call('HMGET', run, id .. ':p', id .. ':l', id .. ':a', id .. ':m', id .. ':c')
return {'OK', state, entry, fields, told[1], told[2], told[3], told[4], told[5]}
