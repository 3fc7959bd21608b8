-- Rebuilds what is known of an event, in steps; whoever took it last goes on.
--
-- KEYS  meta, winners, pending; all of one event
-- ARGV  the step, who does it, and of the step
--   take
--   begin   epoch
--   add     epoch, then user and sequence of each winner, in the order of their sequences
--   finish  epoch, the number of winners, the next sequence, the event's version, then name and value
--           of what else there is
--
-- Answers of the steps
--   take    {epoch, winners, last sequence}: nobody is decided from now on, and whoever took it before
--           does no further step. The epoch is -1 where nothing is known; the last sequence is -1
--           where no rebuilding was left that can be gone on with: whose winners are all there
--   begin   1; a freeze outlasts it
--   add     the number of winners
--   finish  1, or -1 where somebody has told of a later version meanwhile
-- or 0 where another has taken it, or the memory was lost in between.

local meta, winners, pending = KEYS[1], KEYS[2], KEYS[3]
local step, token, epoch = ARGV[1], ARGV[2], ARGV[3]
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
local incarnation = run .. '-' .. history
local known = redis.call('HMGET', meta, 'epoch', 'token', 'incarnation', 'loaded', 'copied',
  'taken_in', 'frozen_by', 'frozen_until')
-- Winners that were copied may be lost before the last is.
local copied = redis.call('HLEN', winners)
local is_whole = copied == tonumber(known[5])

if step == 'take' then
  local loaded = is_whole and known[3] == incarnation and known[4]
  redis.call('HSET', meta, 'loading', '1', 'token', token, 'taken_in', incarnation)
  return { tonumber(known[1] or -1), copied, tonumber(loaded or -1) }
end
if known[2] ~= token then
  return 0
end
if step == 'begin' then
  -- A memory that has gone back may have forgotten who has taken it since.
  if known[6] ~= incarnation then
    return 0
  end
  redis.call('UNLINK', meta, winners, pending)
  redis.call('HSET', meta, 'epoch', epoch, 'loading', '1', 'token', token, 'taken_in', incarnation,
    'incarnation', incarnation, 'loaded', '0', 'copied', '0')
  if known[7] then
    redis.call('HSET', meta, 'frozen_by', known[7], 'frozen_until', known[8])
  end
  return 1
end
if known[1] ~= epoch or known[3] ~= incarnation or not known[4] or not is_whole then
  return 0
end
if step == 'add' then
  redis.call('HSET', winners, unpack(ARGV, 4))
  copied = redis.call('HLEN', winners)
  redis.call('HSET', meta, 'loaded', ARGV[#ARGV], 'copied', copied)
  return copied
end
if copied ~= tonumber(ARGV[4]) then
  return 0
end
if tonumber(redis.call('HGET', meta, 'told') or 0) > tonumber(ARGV[6]) then
  return -1
end
redis.call('HSET', meta, 'count', ARGV[4], 'next', ARGV[5], 'version', ARGV[6], 'script', '3',
  'pending', '0', unpack(ARGV, 7))
redis.call('HDEL', meta, 'loading', 'loaded', 'copied', 'token', 'taken_in', 'told')
return 1
