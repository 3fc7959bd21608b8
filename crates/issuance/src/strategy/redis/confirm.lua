-- Notes that wins are durable.
--
-- KEYS  meta, winners, pending; all of one event
-- ARGV  epoch, then user and sequence of each win
--
-- What was rebuilt since knows already.

local meta, winners, pending = KEYS[1], KEYS[2], KEYS[3]
if redis.call('HGET', meta, 'epoch') ~= ARGV[1] then
  return 0
end
local confirmed = 0
for i = 2, #ARGV, 2 do
  if redis.call('HGET', winners, ARGV[i]) == 'P' .. ARGV[i + 1] then
    redis.call('HSET', winners, ARGV[i], 'C' .. ARGV[i + 1])
    redis.call('XDEL', pending, ARGV[1] .. '-' .. ARGV[i + 1])
    confirmed = confirmed + 1
  end
end
if confirmed > 0 then
  redis.call('HINCRBY', meta, 'pending', -confirmed)
end
return confirmed
