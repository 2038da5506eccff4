-- purge removes ended intents that may be removed at a time, and answers how many it
-- found. It looks again at what expired answered: another replica can have been here.

local at = arg()
local removed = 0
for _ = 1, arg() do
  local id = arg()
  local expires, origin = unpack(redis.call('HMGET', hash(id), 'x', 'o'))
  if expires and expires <= at then
    local o = cjson.decode(origin)
    local owner, key = o.owner or '', o.key or ''
    if owner ~= '' then redis.call('ZREM', shard .. 'own:' .. owner, id) end
    if key ~= '' and redis.call('GET', shard .. 'k:' .. key) == id then
      redis.call('DEL', shard .. 'k:' .. key)
    end
    redis.call('ZREM', shard .. 'all', id)
    redis.call('ZREM', shard .. 'exp', expires .. id)
    redis.call('UNLINK', hash(id), list(id))
    removed = removed + 1
  end
end
return removed
