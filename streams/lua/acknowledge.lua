#!lua flags=allow-oom
-- acknowledge: outbox entries whose callbacks are queued disappear; a job that is still there keeps the
--   ids of its last 5 callbacks. An entry that is gone was acknowledged before.
--   entries: (entry id callback)*
-- from: any
-- to: any
-- keys: jobs run outbox
-- args: entries...
-- replies: OK
redis.call('HLEN', jobs); redis.call('HLEN', run); redis.call('XLEN', outbox)
for at = entries, #ARGV, 3 do
  local field = ARGV[at + 1] .. ':c'
  if redis.call('XDEL', outbox, ARGV[at]) == 1 and redis.call('HEXISTS', jobs, ARGV[at + 1]) == 1 then
    local ids = {}
    for id in string.gmatch(redis.call('HGET', run, field) or '', '%S+') do ids[#ids + 1] = id end
    ids[#ids + 1] = ARGV[at + 2]
    redis.call('HSET', run, field, table.concat(ids, ' ', math.max(1, #ids - 4)))
  end
end
return {'OK'}
