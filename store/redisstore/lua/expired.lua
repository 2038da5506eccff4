-- expired answers up to n ended intents that may be removed at a time: for each, id and
-- the entry of the job index that can lead to it.

local at, n = unpack(args(2))
local found = {}
-- Members are a time and an id; 0xff is above all that can follow the time.
for _, member in ipairs(redis.call('ZRANGE', shard .. 'exp', '-', '[' .. at .. '\255', 'BYLEX', 'LIMIT', 0, n)) do
  local id = string.sub(member, #at + 1)
  found[#found + 1] = { id, redis.call('HGET', hash(id), 'j') or '' }
end
return found
