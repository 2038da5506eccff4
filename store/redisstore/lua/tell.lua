-- tell keeps what the holder of an intent knows of its polls, for a while. It answers what
-- time it is, 'clock' if that is no time to have known it at, or why not. A body comes with
-- it only if it is another one than is kept.

local id, epoch, owner, publish, keep, at, words, mark, has, body = unpack(args(10))
local h = redis.call('HGET', hash(id), 'h')
if not h then return 'gone' end
if h ~= epoch .. ':' .. owner then return 'fenced' end
local said = shard .. 't:' .. id
local time = now()
local age = time - tonumber(at)
if age < 0 or age > 10000 then return 'clock' end
if has == '1' then
  redis.call('HSET', said, 'm', mark, 'b', body)
elseif mark == '' then
  redis.call('HDEL', said, 'm', 'b')
elseif redis.call('HGET', said, 'm') ~= mark then
  return 'missing'
end
redis.call('HSET', said, 'at', at, 'w', words)
redis.call('PEXPIRE', said, keep)
redis.call(publish, shard .. 'ev', owner .. ' told ' .. id .. ' 0')
return time
