-- collect grants messages that are still due, and makes them due again later. It
-- answers name, body and state of each.

local at, later = unpack(args(2))
local collected = {}
for _ = 1, arg() do
  local name = arg()
  local state = redis.call('HGET', shard .. 'ms', name)
  local was = state and string.sub(state, 1, #at)
  if state and was <= at and redis.call('ZREM', shard .. 'md', was .. name) == 1 then
    redis.call('ZADD', shard .. 'md', 0, later .. name)
    state = later .. string.sub(state, #at + 1)
    redis.call('HSET', shard .. 'ms', name, state)
    collected[#collected + 1] = { name, redis.call('HGET', shard .. 'm', name), state }
  end
end
return collected
