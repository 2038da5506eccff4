-- create stores an intent or a reservation and grants it to its maker. The token says
-- which call it was: the client repeats a command whose answer was lost, and that one
-- has to get the same answer, and another call with the same id not.

local id, token, owner, lease, job, jobname, deadline = unpack(args(7))
local key, origin, captured, request, latest, expires, jobhash, whose = unpack(args(8))

if redis.call('EXISTS', hash(id)) == 1 then
  if redis.call('HGET', hash(id), 't') ~= token then return 'exists' end
  redis.call('HSET', hash(id), 't', token) -- a write, for a WAIT behind it to wait for
  return 'ok'
end
if key ~= '' and not redis.call('SET', shard .. 'k:' .. key, id, 'NX') then
  return 'exists'
end
redis.call('HSET', hash(id), 't', token, 'h', '1:' .. owner, 'q', job, 'o', origin, 'l', latest)
if captured == '1' then redis.call('HSET', hash(id), 'r', request) end
if jobhash ~= '' then redis.call('HSET', hash(id), 'j', jobhash) end
redis.call('HSETNX', shard .. 'jobs', job, jobname)
if expires == '' then
  redis.call('ZADD', due(job), now() + lease, id)
  redis.call('ZADD', shard .. 'end', deadline, id)
else
  conclude(id, job, expires)
end
local publish = arg()
local events = args(arg())
post()
if #events > 0 then
  redis.call('RPUSH', list(id), unpack(events))
  show(id, whose)
  redis.call(publish, shard .. 'ev', owner .. ' appended ' .. id .. ' ' .. #events)
end
return 'ok'
