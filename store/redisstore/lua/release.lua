-- release ends holding: the intent can be claimed at once.

local id, epoch, owner = unpack(args(3))
local h, ended, job = unpack(redis.call('HMGET', hash(id), 'h', 'x', 'q'))
local why = refusal(h, ended, epoch, owner)
if why then return why end
redis.call('HSET', hash(id), 'h', epoch .. ':')
redis.call('ZADD', due(job), 0, id)
return 'ok'
