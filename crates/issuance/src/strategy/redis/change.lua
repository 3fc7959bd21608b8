-- Follows a change of an event, or makes ready for one.
--
-- KEYS  meta, winners, pending; all of one event
-- ARGV  'freeze', the longest time in microseconds
--       'follow', epoch, version, then name and value of what there is; it ends a freeze
--
-- Answers 1, or 0 where that is of another epoch, or older than what is known.

local meta = KEYS[1]
local known = redis.call('HMGET', meta, 'epoch', 'version', 'loading', 'closed')
if not known[1] or known[3] then
  return 0
end
if ARGV[1] == 'freeze' then
  local time = redis.call('TIME')
  local until_then = tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(ARGV[2])
  redis.call('HSET', meta, 'frozen_until', string.format('%.0f', until_then))
  return 1
end
if known[1] ~= ARGV[2] or tonumber(known[2]) > tonumber(ARGV[3]) then
  return 0
end
local values = {}
for i = 4, #ARGV do
  values[#values + 1] = ARGV[i]
end
redis.call('HSET', meta, 'version', ARGV[3], unpack(values))
-- Closed is closed, also where the clock has done it.
if known[4] == '1' then
  redis.call('HSET', meta, 'closed', '1')
end
redis.call('HDEL', meta, 'frozen_until')
return 1
