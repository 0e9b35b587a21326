#!lua
-- status_snapshot: everything a list credential says, at one instant.
-- from: any
-- to: any
-- keys: list bits
-- args:
-- replies: OK MISSING
local facts = redis.call('HMGET', list, 'org', 'issuer', 'purpose', 'base', 'size', 'version',
  'published', 'changed')
if not facts[1] then return {'MISSING'} end
return {'OK', facts, redis.call('GET', bits) or ''}
