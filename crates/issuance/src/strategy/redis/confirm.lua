-- Notes that all wins of some batches are durable.
--
-- KEYS  meta, winners, pending; all of one event
-- ARGV  epoch, then the moment of each batch
--
-- Answers how many were pending. What was rebuilt since knows already.

local meta, pending = KEYS[1], KEYS[3]
if redis.call('HGET', meta, 'epoch') ~= ARGV[1] then
  return 0
end
local noted = redis.call('HDEL', pending, unpack(ARGV, 2))
if noted > 0 then
  redis.call('HINCRBY', meta, 'pending', -noted)
end
return noted
