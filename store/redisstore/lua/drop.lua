-- drop forgets a held reservation, and frees its idempotency key.

local id, epoch, owner = unpack(args(3))
local h, ended, job, origin = unpack(redis.call('HMGET', hash(id), 'h', 'x', 'q', 'o'))
local why = refusal(h, ended, epoch, owner)
if why then return why end
if redis.call('EXISTS', list(id)) == 1 then return 'conflict' end
local key = cjson.decode(origin).key or ''
if key ~= '' then redis.call('DEL', shard .. 'k:' .. key) end
redis.call('DEL', hash(id))
redis.call('ZREM', due(job), id)
redis.call('ZREM', shard .. 'end', id)
return 'ok'
