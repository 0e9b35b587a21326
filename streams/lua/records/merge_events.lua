#!lua flags=allow-oom
-- merge_events: what happened in one queue joins what happened in all of them, unless somebody has
--   brought it by now. entries: (count (field value)*)*, count items each
--   answers word, how far the queue is brought; SKIP when that is not where the entries begin
-- from: any
-- to: any
-- keys: events cursors
-- args: queue begin finish list...
-- replies: OK SKIP
redis.call('XLEN', events)
local at = redis.call('HGET', cursors, queue) or '0-0'
if at ~= begin then return {'SKIP', at} end
local i = list
while i <= #ARGV do
  local count = ARGV[i] + 0
  redis.call('XADD', events, 'MAXLEN', '~', 10000, '*', 'q', queue, unpack(ARGV, i + 1, i + count))
  i = i + count + 1
end
redis.call('HSET', cursors, queue, finish)
return {'OK', finish}
