-- What the scripts have in common; it stands before each of them. KEYS[1] is the name
-- of a shard, with its hash tag: every key that a script touches begins with it, so
-- all of them are in one slot.

local shard = KEYS[1]

local function hash(id) return shard .. 'i:' .. id end    -- the intent
local function list(id) return shard .. 'e:' .. id end    -- its events; the one of seq n at n-1
local function due(job) return shard .. 'due:' .. job end -- running intents of a job, by when anybody may claim them

-- One clock for all leases, whatever the clocks of the replicas say. In milliseconds.
local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- args hands out ARGV one by one.
local place = 0
local function arg()
  place = place + 1
  return ARGV[place]
end
local function args(n)
  local some = {}
  for i = 1, n do some[i] = arg() end
  return some
end

-- The hash field h is "epoch:owner", with no owner where nobody holds the intent. The
-- owner is compared too: a failover can take an epoch back, and then two may have the
-- same one.
local function holder(h)
  local epoch, owner = string.match(h, '^(%d+):(.*)$')
  return epoch, owner
end

-- refusal says why a lease does not hold an intent, or nothing if it does.
local function refusal(h, ended, epoch, owner)
  if not h then return 'gone' end
  local has, by = holder(h)
  if has ~= epoch or by ~= '' and by ~= owner then return 'fenced' end
  if ended then return 'ended' end
  if by == '' then return 'fenced' end
end

-- post puts messages into the outbox: what was collected of them stays as it is.
local function post()
  for _ = 1, arg() do
    local name, body, state, at = arg(), arg(), arg(), arg()
    redis.call('HSET', shard .. 'm', name, body)
    redis.call('HSET', shard .. 'ms', name, state)
    redis.call('ZADD', shard .. 'mo', 0, name)
    redis.call('ZADD', shard .. 'md', 0, at .. name)
  end
end

-- show puts an intent with events where readers find it.
local function show(id, owner)
  redis.call('ZADD', shard .. 'all', 0, id)
  if owner ~= '' then redis.call('ZADD', shard .. 'own:' .. owner, 0, id) end
end

-- fields are what an intent is read from.
local function fields(id)
  return redis.call('HMGET', hash(id), 'o', 'r', 'l', 'g')
end

-- conclude takes an ended intent out of the schedule and into the order of removal.
local function conclude(id, job, expires)
  redis.call('HSET', hash(id), 'x', expires)
  redis.call('ZADD', shard .. 'exp', 0, expires .. id)
  redis.call('ZREM', due(job), id)
  redis.call('ZREM', shard .. 'end', id)
end

-- grant puts an intent under a new epoch, held by owner for so many milliseconds.
local function grant(id, job, h, owner, lease)
  local epoch = holder(h)
  epoch = string.format('%d', epoch + 1)
  redis.call('HSET', hash(id), 'h', epoch .. ':' .. owner)
  redis.call('ZADD', due(job), now() + lease, id)
  return epoch
end
