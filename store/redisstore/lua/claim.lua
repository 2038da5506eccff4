-- claim grants up to n intents that nobody holds: those of some jobs, and whatever is
-- past its deadline. A lease that has ended is nobody's. It answers, for each, id,
-- epoch and fields; job index entries are the caller's to repair. In doubt, right after a
-- failover, what the holder knew of the end of the log is lost with its lease.

local owner, lease, n, doubt = unpack(args(4))
n = tonumber(n)
local jobs = args(arg())
local claimed = {}
local at = now()

local function claim(id, job)
  local h = redis.call('HGET', hash(id), 'h')
  if not h then
    redis.call('ZREM', due(job), id)
    redis.call('ZREM', shard .. 'end', id)
    return
  end
  local _, by = holder(h)
  if doubt == '1' and by ~= '' then redis.call('HINCRBY', hash(id), 'g', 1) end
  claimed[#claimed + 1] = { id, grant(id, job, h, owner, lease), fields(id) }
end

for _, job in ipairs(jobs) do
  if #claimed == n then break end
  for _, id in ipairs(redis.call('ZRANGE', due(job), '-inf', at, 'BYSCORE', 'LIMIT', 0, n - #claimed)) do
    claim(id, job)
  end
end
if #claimed < n then
  for _, id in ipairs(redis.call('ZRANGE', shard .. 'end', '-inf', at, 'BYSCORE', 'LIMIT', 0, n - #claimed)) do
    local job = redis.call('HGET', hash(id), 'q') or ''
    local held = redis.call('ZSCORE', due(job), id)
    if not held or tonumber(held) <= at then claim(id, job) end
  end
end
return claimed
