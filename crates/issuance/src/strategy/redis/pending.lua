-- Tells some batches whose wins are not known to be durable; of one memory, which goes by one word.
--
-- KEYS  meta, winners, pending; all of one event
-- ARGV  the epoch by which they were decided, or '' where that is lost; where a scan goes on, and about
--       how many batches it takes
--
-- Answers {where it goes on, {moment, batch, ...}, terms}, or nil where it goes by another epoch now.

local meta, pending = KEYS[1], KEYS[3]
local known = redis.call('HMGET', meta, 'epoch', 'terms')
if (known[1] or '') ~= ARGV[1] then
  return false
end
local found = redis.call('HSCAN', pending, ARGV[2], 'COUNT', ARGV[3])
return { found[1], found[2], known[2] or '' }
