-- Decides a batch of claims on one event.
--
-- KEYS  meta, winners, pending; all of one event
-- ARGV  'raw' or 'both', then users, every user once; for 'both' each user is followed by the
--       pseudonym that they would stand under, had they been erased since they won
--
-- Answers {'decided', epoch, version, opens_at, claim, ...}, a claim for each user:
--   W<sequence>:<issued_at>  has won just now; nobody may be told before it is durable
--   P<sequence>:<issued_at>  has won before, and it is not known to be durable
--   C<sequence>              has won before, and that is durable
--   S sold out, N not open, U paused, X closed, F frozen for a change
-- or {'not_loaded'}, or {'both'} where pseudonyms are needed; nothing is written then.
--
-- Every read and every check comes before the first write: Redis does not roll back.

local meta, winners, pending = KEYS[1], KEYS[2], KEYS[3]
local names = { 'incarnation', 'epoch', 'version', 'script', 'loading', 'quantity', 'count', 'next',
  'opens_at', 'closes_at', 'opened_early', 'paused', 'closed', 'frozen_until', 'erased', 'pending' }
local values = redis.call('HMGET', meta, unpack(names))
local event = {}
for i, name in ipairs(names) do
  event[name] = values[i]
end

-- What this server's memory has been through: another run, or another history after a failover, is
-- another incarnation.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if not event.epoch or event.loading or event.script ~= '1' or not run or not history
  or event.incarnation ~= run .. '-' .. history
  or redis.call('HLEN', winners) ~= tonumber(event.count)
  or redis.call('HLEN', pending) ~= tonumber(event.pending) then
  return { 'not_loaded' }
end
local both = ARGV[1] == 'both'
if event.erased == '1' and not both then
  return { 'both' }
end

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local issued_at = string.format('%.0f', now)
local refusal = nil
if event.closed == '1' or now >= tonumber(event.closes_at) then
  refusal = 'X'
elseif event.frozen_until and now < tonumber(event.frozen_until) then
  refusal = 'F'
elseif event.paused == '1' then
  refusal = 'U'
elseif event.opened_early ~= '1' and now < tonumber(event.opens_at) then
  refusal = 'N'
end

local quantity, count = tonumber(event.quantity), tonumber(event.count)
local following = tonumber(event.next)
local step = both and 2 or 1
local fields = {}
for i = 2, #ARGV do
  fields[#fields + 1] = ARGV[i]
end
local held = redis.call('HMGET', winners, unpack(fields))
local answer = { 'decided', event.epoch, event.version, event.opens_at }
local places, entries = {}, {}
for i = 1, #fields, step do
  local place = held[i] or (both and held[i + 1])
  local verdict
  if place then
    verdict = place
    if string.sub(place, 1, 1) == 'P' then
      local entry = redis.call('HGET', pending, string.sub(place, 2))
      if not entry then
        return { 'not_loaded' }
      end
      verdict = place .. ':' .. string.match(entry, '^%d+')
    end
  elseif refusal then
    verdict = refusal
  elseif count >= quantity then
    verdict = 'S'
  else
    local sequence = tostring(following)
    verdict = 'W' .. sequence .. ':' .. issued_at
    places[#places + 1] = fields[i]
    places[#places + 1] = 'P' .. sequence
    entries[#entries + 1] = sequence
    entries[#entries + 1] = issued_at .. ' ' .. fields[i]
    following = following + 1
    count = count + 1
  end
  answer[#answer + 1] = verdict
end

if #places > 0 then
  redis.call('HSET', pending, unpack(entries))
  redis.call('HSET', winners, unpack(places))
  redis.call('HSET', meta, 'count', count, 'next', following)
  redis.call('HINCRBY', meta, 'pending', #places / 2)
end
-- Closed is closed, also for a clock that steps back.
if refusal == 'X' and event.closed ~= '1' then
  redis.call('HSET', meta, 'closed', '1')
end
return answer
