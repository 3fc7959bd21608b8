-- Rebuilds what is known of an event, in steps; whoever has the higher epoch goes on.
--
-- KEYS  meta, winners, pending; all of one event
-- ARGV  the step, the epoch, and of the step
--   begin
--   add     user and sequence of each winner
--   finish  the number of winners, the next sequence, then name and value of what else there is
--
-- Answers 1, or 0 where another has begun, or the memory was lost in between.

local meta, winners, pending = KEYS[1], KEYS[2], KEYS[3]
local step, epoch = ARGV[1], ARGV[2]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local incarnation = run .. '-' .. history
local known = redis.call('HMGET', meta, 'epoch', 'loading', 'incarnation')

if step == 'begin' then
  if known[1] and known[3] == incarnation and tonumber(known[1]) >= tonumber(epoch) then
    return 0
  end
  redis.call('UNLINK', meta, winners, pending)
  redis.call('HSET', meta, 'epoch', epoch, 'loading', '1', 'incarnation', incarnation)
  return 1
end
if known[1] ~= epoch or known[2] ~= '1' or known[3] ~= incarnation then
  return 0
end
if step == 'add' then
  local places = {}
  for i = 3, #ARGV, 2 do
    places[#places + 1] = ARGV[i]
    places[#places + 1] = 'C' .. ARGV[i + 1]
  end
  redis.call('HSET', winners, unpack(places))
  return 1
end
if redis.call('HLEN', winners) ~= tonumber(ARGV[3]) then
  return 0
end
local rest = {}
for i = 5, #ARGV do
  rest[#rest + 1] = ARGV[i]
end
redis.call('HSET', meta, 'count', ARGV[3], 'next', ARGV[4], 'script', '1', 'pending', '0',
  unpack(rest))
redis.call('HDEL', meta, 'loading')
return 1
