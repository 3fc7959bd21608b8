-- Decides a batch of claims on one event.
--
-- KEYS  meta, winners, pending; all of one event
-- ARGV  'raw' or 'both', then users, every user once; for 'both' each user is followed by the
--       pseudonym that they would stand under, had they been erased since they won
--
-- A winner's place is '<sequence>:<moment>', the moment being when its batch was decided, in
-- microseconds; or '<sequence>' alone where the ledger had the win when the event was loaded. No two
-- batches have the same moment. While the wins of a batch are not known to be durable, it is pending
-- under its moment: '<first sequence> <user> <user> ...'.
--
-- Answers {'decided', epoch, version, opens_at, moment, first sequence, claim, ...}, a claim for each
-- user, in their order:
--   W          has won just now, with the next sequence; nobody may be told before it is durable
--   P<place>   has won before, and it is not known to be durable
--   C<place>   has won before, and that is durable
--   S sold out, N not open, U paused, X closed, F frozen for a change
-- or {'not_loaded'}, or {'both'} where pseudonyms are needed; nothing is written then.
--
-- Every read and every check comes before the first write: Redis does not roll back.

local meta, winners, pending = KEYS[1], KEYS[2], KEYS[3]
local names = { 'incarnation', 'epoch', 'version', 'script', 'loading', 'quantity', 'count', 'next',
  'opens_at', 'closes_at', 'opened_early', 'paused', 'closed', 'frozen_until', 'erased', 'pending',
  'last' }
local values = redis.call('HMGET', meta, unpack(names))
local event = {}
for i, name in ipairs(names) do
  event[name] = values[i]
end

-- What this server's memory has been through: another run, or another history after a failover, is
-- another incarnation.
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
local history = string.match(redis.call('INFO', 'replication'), 'master_replid:(%x+)')
if not event.epoch or event.loading or event.script ~= '2' or not run or not history
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
-- Later than every batch before, also for a clock that steps back.
now = math.max(now, tonumber(event.last or 0) + 1)
local moment = string.format('%.0f', now)

local quantity, count = tonumber(event.quantity), tonumber(event.count)
local first = tonumber(event.next)
local following = first
local step = both and 2 or 1
local fields = { unpack(ARGV, 2) }
local held = redis.call('HMGET', winners, unpack(fields))
local answer = { 'decided', event.epoch, event.version, event.opens_at, moment, event.next }
local is_pending = {}
local told, places, batch = #answer, {}, { event.next }
for i = 1, #fields, step do
  local place = held[i] or (both and held[i + 1])
  told = told + 1
  if place then
    local at = string.match(place, ':(%d+)')
    if at and is_pending[at] == nil then
      is_pending[at] = redis.call('HEXISTS', pending, at)
    end
    answer[told] = (at and is_pending[at] == 1 and 'P' or 'C') .. place
  elseif refusal then
    answer[told] = refusal
  elseif count >= quantity then
    answer[told] = 'S'
  else
    answer[told] = 'W'
    places[#places + 1] = fields[i]
    places[#places + 1] = following .. ':' .. moment
    batch[#batch + 1] = fields[i]
    following = following + 1
    count = count + 1
  end
end

if following > first then
  redis.call('HSET', pending, moment, table.concat(batch, ' '))
  redis.call('HSET', winners, unpack(places))
  redis.call('HSET', meta, 'count', count, 'next', following, 'last', moment,
    'pending', event.pending + 1)
end
-- Closed is closed, also for a clock that steps back.
if refusal == 'X' and event.closed ~= '1' then
  redis.call('HSET', meta, 'closed', '1')
end
return answer
