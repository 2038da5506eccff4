-- key reads what was made under an idempotency key: id, fields and the kept answer.

local id = redis.call('GET', shard .. 'k:' .. arg())
if not id then return false end
return { id, fields(id), redis.call('HGET', hash(id), 'rp') }
