#!lua
-- mail_secret: the secret of unsubscribe links; the first one offered stays.
-- from: any
-- to: any
-- keys: secret
-- args: fresh
-- replies: OK ALREADY
local before = redis.call('GET', secret)
if before then return {'ALREADY', before} end
redis.call('SET', secret, fresh)
return {'OK', fresh}
