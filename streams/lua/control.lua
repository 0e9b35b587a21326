#!lua flags=allow-oom
-- control: set or clear facts about a queue (paused, max, duration, concurrency).
--   changes: (field value)*, an empty value clears
-- from: any
-- to: any
-- keys: meta limit wake events audit idem
-- args: event who once changes...
-- replies: OK
-- uses: audit once
local kept = before()
if kept then return kept end
redis.call('LLEN', limit); redis.call('ZCARD', wake); redis.call('XLEN', events); redis.call('XLEN', audit)
local changed = false
for i = changes, #ARGV, 2 do
  changed = changed or (redis.call('HGET', meta, ARGV[i]) or '') ~= ARGV[i + 1]
end
for i = changes, #ARGV, 2 do
  if ARGV[i + 1] == '' then redis.call('HDEL', meta, ARGV[i])
  else redis.call('HSET', meta, ARGV[i], ARGV[i + 1]) end
  if ARGV[i] == 'max' and ARGV[i + 1] == '' then
    redis.call('DEL', limit)
    redis.call('HDEL', meta, 'granted')
  end
end
redis.call('ZADD', wake, 0, '1')
redis.call('XADD', events, 'MAXLEN', '~', 2000, '*', 'e', event, 'i', '')
if changed then record('done') end
return told('OK')
