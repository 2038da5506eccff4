-- unindex removes the entry of the job index that leads to an intent; one that leads to
-- a later intent of the same job stays.

local job, id = unpack(args(2))
local entry = redis.call('GET', shard .. 'j:' .. job)
if entry and string.match(entry, '^[^ ]*') == id then
  redis.call('DEL', shard .. 'j:' .. job)
end
return 'ok'
