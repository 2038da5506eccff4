-- count answers how much a shard keeps: running and ended intents, messages, and of each
-- job that has some that anybody may claim, its name and how many.

local at = now()
local free = {}
local jobs = redis.call('HGETALL', shard .. 'jobs')
for i = 1, #jobs, 2 do
  local n = redis.call('ZCOUNT', due(jobs[i]), '-inf', at)
  if n > 0 then free[#free + 1] = { jobs[i + 1], n } end
end
return { redis.call('ZCARD', shard .. 'end'), redis.call('ZCARD', shard .. 'exp'), redis.call('ZCARD', shard .. 'mo'), free }
