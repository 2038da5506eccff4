-- take grants one intent whoever holds it.

local id, owner, lease = unpack(args(3))
local h, ended, job = unpack(redis.call('HMGET', hash(id), 'h', 'x', 'q'))
if not h then return 'gone' end
if ended then return 'ended' end
return { grant(id, job, h, owner, lease), fields(id) }
