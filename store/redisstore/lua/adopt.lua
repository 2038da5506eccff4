-- adopt points a job at an intent that is about to be made, if it points at latest now,
-- or at nothing where that is empty. The entry is pending for a while: of a maker who
-- died in between nobody has to know. It answers the id that is in the way, or 'ok'.

local job, latest, id, grace = unpack(args(4))
local entry = redis.call('GET', shard .. 'j:' .. job) or ''
local there, since = string.match(entry, '^([^ ]*) ?(%d*)$')
if there ~= id and there ~= latest then
  if since == '' or now() < since + grace then return there end
end
redis.call('SET', shard .. 'j:' .. job, id .. ' ' .. string.format('%d', now()))
return 'ok'
