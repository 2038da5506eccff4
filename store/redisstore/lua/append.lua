-- append stores a change of a held intent. It answers 'ok', 'index' if the job index is
-- still to be written, or why not. A change whose events are there already is answered
-- like the first time, also when others have followed.

local id, epoch, owner, after, latest, captured, request, replay, jobhash, expires = unpack(args(10))
local publish = arg()
local events = args(arg())

local h, ended, job, indexed, origin = unpack(redis.call('HMGET', hash(id), 'h', 'x', 'q', 'j', 'o'))
if not h then return 'gone' end
local length = redis.call('LLEN', list(id))

local function repeated()
  if #events == 0 or holder(h) ~= epoch or length < after + #events then return false end
  local stored = redis.call('LRANGE', list(id), after, after + #events - 1)
  for i, event in ipairs(events) do
    if stored[i] ~= event then return false end
  end
  return true
end
if length ~= tonumber(after) or ended or h ~= epoch .. ':' .. owner then
  if repeated() then
    redis.call('HSET', hash(id), 'h', h) -- a write, for a WAIT behind it to wait for
    return 'ok'
  end
  return refusal(h, ended, epoch, owner) or 'conflict'
end

redis.call('HSET', hash(id), 'l', latest)
if captured == '1' then redis.call('HSETNX', hash(id), 'r', request) end
if replay ~= '' then redis.call('HSET', hash(id), 'rp', replay) end
post()
if expires ~= '' then conclude(id, job, expires) end
if #events > 0 then
  redis.call('RPUSH', list(id), unpack(events))
  if length == 0 then show(id, cjson.decode(origin).owner or '') end
  redis.call(publish, shard .. 'ev', owner .. ' appended ' .. id .. ' ' .. length + #events)
end
if jobhash ~= '' and not indexed then
  redis.call('HSET', hash(id), 'j', jobhash)
  return 'index'
end
return 'ok'
