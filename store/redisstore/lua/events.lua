-- events reads an intent and its events after a seq as of one moment.

local id, after = unpack(args(2))
return { fields(id), redis.call('LRANGE', list(id), after, -1) }
