-- discard removes a message, if it is there.

local name, size = unpack(args(2))
local state = redis.call('HGET', shard .. 'ms', name)
if state then redis.call('ZREM', shard .. 'md', string.sub(state, 1, size) .. name) end
redis.call('HDEL', shard .. 'ms', name)
redis.call('HDEL', shard .. 'm', name)
redis.call('ZREM', shard .. 'mo', name)
return 'ok'
