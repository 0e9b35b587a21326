#!lua
-- status_draw: take the first of some random indexes that is free. The first draw makes the list.
--   A list made for another size or address counts as full. A repetition takes one index more,
--   which then stays unused.
--   answers OK, the index, the version of the list that is published
-- from: any
-- to: any
-- keys: list used
-- args: purpose org issuer base size most candidates...
-- replies: OK FULL BUSY
local made = redis.call('HMGET', list, 'base', 'size', 'drawn', 'published')
if made[1] and (made[1] ~= base or made[2] ~= size) then return {'FULL'} end
if tonumber(made[3] or 0) >= tonumber(most) then return {'FULL'} end
for i = candidates, #ARGV do
  if redis.call('GETBIT', used, ARGV[i]) == 0 then
    if not made[1] then
      local now = redis.call('TIME')
      redis.call('HSET', list, 'purpose', purpose, 'org', org, 'issuer', issuer, 'base', base,
        'size', size, 'version', 1, 'changed', now[1])
    end
    redis.call('HINCRBY', list, 'drawn', 1)
    redis.call('SETBIT', used, ARGV[i], 1)
    return {'OK', tonumber(ARGV[i]), tonumber(made[4] or 0)}
  end
end
return {'BUSY'}
