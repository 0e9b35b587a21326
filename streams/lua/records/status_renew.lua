#!lua flags=allow-oom
-- status_renew: a list has to be signed anew although no bit has changed, as after the removal of
--   a key.
--   answers OK, the new version
-- from: any
-- to: any
-- keys: list
-- args:
-- replies: OK MISSING
if redis.call('HEXISTS', list, 'version') == 0 then return {'MISSING'} end
local version = redis.call('HINCRBY', list, 'version', 1)
redis.call('HSET', list, 'changed', redis.call('TIME')[1])
return {'OK', version}
