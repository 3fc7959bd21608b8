-- Follows a change of an event, or makes ready for one.
--
-- KEYS  meta, winners, pending; all of one event
-- ARGV  'freeze', who does it, the longest time in microseconds
--       'lower', a quantity, who does it, the longest time in microseconds: from now on no more coupons
--       than this are won, and it is a freeze, too
--       'expire', the time in seconds: all that is known ends then, unless it does anyway, and so does
--       what is left where the rest was lost
--       'follow', who does it, epoch, version, then name and value of what there is; it ends a freeze
--       by the same hand, also where what is known is newer or being loaded
--
-- It is frozen until the last of those who have frozen it lets go, or their time is over: 'frozen_by'
-- has '<who> <until>;' of each. What is being loaded is frozen, too, and still is when it is there.
--
-- Between 'lower' and the 'follow' of the same hand nobody else raises the quantity, nor lowers it: the
-- ledger may be lowering it.
--
-- Answers 1, or 0 where that is of another epoch, or older than what is known, or nothing is known. To
-- 'lower' it answers {epoch, winners}, and has done it where there are no more winners than that;
-- {epoch}, where another is at it; or {}, where what is known is not to be trusted.

local meta, winners, pending = KEYS[1], KEYS[2], KEYS[3]
local step = ARGV[1]
local names = { 'epoch', 'version', 'loading', 'closed', 'quantity', 'lowering', 'incarnation', 'count',
  'pending', 'closes_at', 'erased', 'frozen_by' }
local values = redis.call('HMGET', meta, unpack(names))
local event = {}
for i, name in ipairs(names) do
  event[name] = values[i]
end
local is_known = event.epoch and not event.loading
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])

-- Of this hand it is frozen so long from now on; without a time, not any more.
local function freeze(hand, longest)
  local by, latest = '', 0
  local function add(who, ends)
    if ends > now then
      by, latest = by .. string.format('%s %.0f;', who, ends), math.max(latest, ends)
    end
  end
  for who, ends in string.gmatch(event.frozen_by or '', '(%S+) (%d+);') do
    if who ~= hand then
      add(who, tonumber(ends))
    end
  end
  if longest then
    add(hand, now + tonumber(longest))
  end
  if latest > 0 then
    redis.call('HSET', meta, 'frozen_by', by, 'frozen_until', string.format('%.0f', latest))
  else
    redis.call('HDEL', meta, 'frozen_by', 'frozen_until')
  end
end

if step == 'freeze' then
  freeze(ARGV[2], ARGV[3])
  return is_known and 1 or 0
end
if step == 'expire' then
  if event.loading then
    return 0
  end
  -- By this clock, too: what is won in its last seconds would end with the rest.
  local is_open = event.epoch and event.closed ~= '1' and now < tonumber(event.closes_at or 0)
  if is_open or redis.call('HLEN', pending) > 0 then
    return 0
  end
  local ends = 0
  for _, key in ipairs(KEYS) do
    if redis.call('TTL', key) == -1 then
      ends = redis.call('EXPIRE', key, ARGV[2])
    end
  end
  return ends
end
if step == 'lower' then
  local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
  local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
  local is_trusted = is_known and run and history and event.incarnation == run .. '-' .. history
    and redis.call('HLEN', winners) == tonumber(event.count)
    and redis.call('HLEN', pending) == tonumber(event.pending)
  if not is_trusted then
    return {}
  end
  if event.lowering and event.lowering ~= ARGV[3] then
    return { tonumber(event.epoch) }
  end
  if tonumber(event.count) <= tonumber(ARGV[2]) then
    local quantity = math.min(tonumber(ARGV[2]), tonumber(event.quantity))
    redis.call('HSET', meta, 'quantity', quantity, 'lowering', ARGV[3],
      'lowered_at', string.format('%.0f', now))
    freeze(ARGV[3], ARGV[4])
  end
  return { tonumber(event.epoch), tonumber(event.count) }
end
if event.loading then
  -- Whoever loads it may have read it before.
  local told = tonumber(redis.call('HGET', meta, 'told') or 0)
  redis.call('HSET', meta, 'told', math.max(told, tonumber(ARGV[4])))
end
local is_newer = is_known and tonumber(event.version) > tonumber(ARGV[4])
if not is_known or is_newer then
  freeze(ARGV[2])
  return 0
end
if event.epoch ~= ARGV[3] then
  return 0
end
redis.call('HSET', meta, 'version', ARGV[4], unpack(ARGV, 5))
if event.lowering and event.lowering ~= ARGV[2] then
  local asked = tonumber(redis.call('HGET', meta, 'quantity'))
  redis.call('HSET', meta, 'quantity', math.min(asked, tonumber(event.quantity)))
else
  redis.call('HDEL', meta, 'lowering', 'lowered_at')
end
-- Closed is closed, also where the clock has done it; unless the ledger had moved the closing by then.
local closes_at = tonumber(redis.call('HGET', meta, 'closes_at'))
local is_moved = event.closes_at and closes_at > tonumber(event.closes_at) and closes_at > now
if event.closed == '1' and not is_moved then
  redis.call('HSET', meta, 'closed', '1')
end
-- Erased is erased, also where this was read before.
if event.erased == '1' then
  redis.call('HSET', meta, 'erased', '1')
end
freeze(ARGV[2])
return 1
