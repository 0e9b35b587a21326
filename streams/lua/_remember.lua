-- remember: for ten minutes, that jobs were dropped, so that a repeated call is told so. words: (id
--   trace)*; a trace is `<nonce of the add>|<when, ms>|<claim>`.
-- needs: gone gone_jobs
local function remember(words, now)
  if #words == 0 then return end
  local ids = {}
  for k = 1, #words, 2 do ids[#ids + 1] = words[k] end
  redis.call('HSET', gone_jobs, unpack(words))
  redis.call('RPUSH', gone, string.format('%.0f ', now) .. table.concat(ids, ' '))
end
