-- Tells whether what is known of an event is to be trusted; of several events one after the other:
-- this is run for each, with a table `shared` for what is the same for all.
--
-- KEYS  meta, winners, pending; all of one event
--
-- Answers 1, or 0 where it is not there, or being loaded, or not of this memory, or not whole.

local meta, winners, pending = KEYS[1], KEYS[2], KEYS[3]
local epoch, loading, incarnation, count, batches = unpack(redis.call('HMGET', meta, 'epoch', 'loading',
  'incarnation', 'count', 'pending'))
if not shared.incarnation then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  shared.incarnation = run and history and run .. '-' .. history
end
if epoch and not loading and shared.incarnation and incarnation == shared.incarnation
  and redis.call('HLEN', winners) == tonumber(count)
  and redis.call('HLEN', pending) == tonumber(batches) then
  return 1
end
return 0
