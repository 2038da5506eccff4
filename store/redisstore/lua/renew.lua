-- renew extends leases and answers the ids that the owner does not hold any more. One
-- that has ended, but that nobody else was granted, is the owner's still.

local owner, lease = unpack(args(2))
local lost = {}
local until_ = now() + lease
for _ = 1, arg() do
  local id, epoch = arg(), arg()
  local h, ended, job = unpack(redis.call('HMGET', hash(id), 'h', 'x', 'q'))
  if h == epoch .. ':' .. owner and not ended then
    redis.call('ZADD', due(job), until_, id)
  else
    lost[#lost + 1] = id
  end
end
return lost
