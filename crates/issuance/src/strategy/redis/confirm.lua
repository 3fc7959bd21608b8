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
local users, places, sequences = {}, {}, {}
for i = 2, #ARGV, 2 do
  users[#users + 1] = ARGV[i]
end
local held = redis.call('HMGET', winners, unpack(users))
for i = 1, #users do
  local sequence = ARGV[2 * i + 1]
  if held[i] == 'P' .. sequence then
    places[#places + 1] = users[i]
    places[#places + 1] = 'C' .. sequence
    sequences[#sequences + 1] = sequence
  end
end
if #sequences > 0 then
  redis.call('HSET', winners, unpack(places))
  redis.call('HDEL', pending, unpack(sequences))
  redis.call('HINCRBY', meta, 'pending', -#sequences)
end
return #sequences
