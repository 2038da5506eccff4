-- keep stores what became of a message. A dead one is not due.

local name, state, at, dead = unpack(args(4))
local before = redis.call('HGET', shard .. 'ms', name)
if not before then return 'gone' end
redis.call('ZREM', shard .. 'md', string.sub(before, 1, #at) .. name)
redis.call('HSET', shard .. 'ms', name, state)
if dead == '' then redis.call('ZADD', shard .. 'md', 0, at .. name) end
return 'ok'
