-- told answers for how long a telling has been known, what it says and the mark of its
-- body; the body too, unless its mark is known.

local id, known = unpack(args(2))
local at, words, mark = unpack(redis.call('HMGET', shard .. 't:' .. id, 'at', 'w', 'm'))
if not at then return {} end
mark = mark or ''
local answer = { now() - tonumber(at), words, mark }
if mark ~= '' and mark ~= known then
  answer[4] = redis.call('HGET', shard .. 't:' .. id, 'b')
end
return answer
