-- raise begins another generation of an intent whose log is shorter than its holder knows
-- it to have been: what follows now is not what observers saw in that place. It answers
-- the length and, if it did so, the generation.

local id, epoch, owner, height = unpack(args(4))
local h = redis.call('HGET', hash(id), 'h')
local length = redis.call('LLEN', list(id))
if h ~= epoch .. ':' .. owner or length >= tonumber(height) then return { length, 0 } end
return { length, redis.call('HINCRBY', hash(id), 'g', 1) }
