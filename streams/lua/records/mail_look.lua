#!lua flags=no-writes,allow-oom
-- mail_look: the entry that holds for an address now: when it ends (inf: never), and its text.
-- from: any
-- to: any
-- keys: ends entries
-- args: id
-- replies: OK MISSING
local t = redis.call('TIME')
local score, entry = redis.call('ZSCORE', ends, id), redis.call('HGET', entries, id)
if not (score and entry) or tonumber(score) <= t[1] * 1000 + math.floor(t[2] / 1000) then
  return {'MISSING'}
end
return {'OK', score, entry}
