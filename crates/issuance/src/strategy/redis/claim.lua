-- Decides a batch of claims on one event; of several events one after the other, all at one moment:
-- this is run for each, with a table `shared` for what is the same for all.
--
-- KEYS  meta, winners, pending; all of one event
-- ARGV  'raw' or 'both'
--       for how long the coupons are valid, '<version of the coupon> <validity>', as the caller has
--       read it; or '' where the ledger tells when it records them
--       users, every user once; for 'both' each user is followed by the pseudonym that they would
--       stand under, had they been erased since they won
--
-- A winner's place is '<sequence>:<moment>', the moment being when its batch was decided, in
-- microseconds; or '<sequence>' alone where the ledger had the win when the event was loaded. No two
-- batches have the same moment. While the wins of a batch are not known to be durable, it is pending
-- under its moment: '<first sequence> <user> <user> ...', behind '=<validity> ' where there is one.
--
-- The newest validity that a caller has brought goes for all who win from then on: `terms` has one
-- after the other, the newest first, '<version> <validity> <its first moment>;...'.
--
-- Answers {'decided', epoch, version, opens_at, moment, first sequence, terms, said, ...}, what is said
-- of the users in their order:
--   P<place>   of one user, who has won before, and it is not known to be durable
--   C<place>   of one user, who has won before, and that is durable
--   W<n>       of n users one after the other, who have won just now, with the next sequences; nobody
--              may be told before it is durable
--   S<n> sold out, N<n> not open, U<n> paused, X<n> closed, F<n> frozen for a change: of n users too
-- or {'not_loaded'}, or {'both'} where pseudonyms are needed; nothing is written then.
--
-- `script` is the form in which all this is kept, a number that is raised where the form changes: what
-- is there in another form is rebuilt. It is not the digest of the scripts, since processes whose
-- scripts differ in words alone would rebuild each other's events for as long as both run.
--
-- Every read and every check comes before the first write: Redis does not roll back.

local meta, winners, pending = KEYS[1], KEYS[2], KEYS[3]
local incarnation, epoch, version, script, loading, quantity, count, first, opens_at, closes_at,
  opened_early, paused, closed, frozen_until, erased, batches, last, terms,
  lowering = unpack(redis.call('HMGET', meta, 'incarnation', 'epoch', 'version', 'script', 'loading',
  'quantity', 'count', 'next', 'opens_at', 'closes_at', 'opened_early', 'paused', 'closed',
  'frozen_until', 'erased', 'pending', 'last', 'terms', 'lowering'))

-- What this server's memory has been through: another run, or another history after a failover, is
-- another incarnation.
local function info(section, name)
  local text = redis.call('INFO', section)
  local _, before = string.find(text, name, 1, true)
  return before and string.sub(text, before + 1, before + 40)
end
if not shared.incarnation then
  local run, history = info('server', 'run_id:'), info('replication', 'master_replid:')
  shared.incarnation = run and history and run .. '-' .. history
  local time = redis.call('TIME')
  shared.now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
if not (epoch and version and quantity and first and opens_at and closes_at) or loading
  or script ~= '3' or not shared.incarnation
  or incarnation ~= shared.incarnation
  or redis.call('HLEN', winners) ~= tonumber(count)
  or redis.call('HLEN', pending) ~= tonumber(batches) then
  return { 'not_loaded' }
end
local both = ARGV[1] == 'both'
if erased == '1' and not both then
  return { 'both' }
end

local now = shared.now
local refusal = nil
if closed == '1' then
  refusal = 'X'
elseif frozen_until and now < tonumber(frozen_until) then
  -- Before the clock closes it: what it is frozen for may be a later closing.
  refusal = 'F'
elseif now >= tonumber(closes_at) then
  refusal = 'X'
elseif paused == '1' then
  refusal = 'U'
elseif opened_early ~= '1' and now < tonumber(opens_at) then
  refusal = 'N'
end
-- Later than every batch before, also for a clock that steps back.
now = math.max(now, tonumber(last or 0) + 1)
local moment = string.format('%.0f', now)

quantity, count = tonumber(quantity), tonumber(count)
local following = tonumber(first)
local since = ':' .. moment
local step = both and 2 or 1
local held = redis.call('HMGET', winners, unpack(ARGV, 3))
local is_pending = {}
local places, placed, batch, won = {}, 0, { first }, 1
local answer = { 'decided', epoch, version, opens_at, moment, first, terms or '' }
local told = #answer
local verdict, alike = nil, 0
local function tell_alike()
  if alike > 0 then
    told = told + 1
    answer[told] = verdict .. alike
    alike = 0
  end
end
for i = 1, #ARGV - 2, step do
  local place = held[i] or (both and held[i + 1])
  if place then
    tell_alike()
    local at = string.match(place, ':(%d+)')
    if at and is_pending[at] == nil then
      is_pending[at] = redis.call('HEXISTS', pending, at)
    end
    told = told + 1
    answer[told] = (at and is_pending[at] == 1 and 'P' or 'C') .. place
  else
    -- Who is lowering the quantity may end without it: nobody hears before that it is sold out.
    local now_verdict = refusal or (count >= quantity and (lowering and 'F' or 'S')) or 'W'
    if now_verdict ~= verdict then
      tell_alike()
      verdict = now_verdict
    end
    alike = alike + 1
    if verdict == 'W' then
      local user = ARGV[i + 2]
      places[placed + 1], places[placed + 2] = user, following .. since
      batch[won + 1] = user
      placed, won = placed + 2, won + 1
      following, count = following + 1, count + 1
    end
  end
end
tell_alike()

if placed > 0 then
  local version, validity = string.match(ARGV[2], '^(%d+) (%S+)$')
  local known, newest, since, older = string.match(terms or '', '^(%d+) (%S+) (%d+)(.*)$')
  if version and (not known or tonumber(version) > tonumber(known)) then
    if validity == newest then
      terms = ARGV[2] .. ' ' .. since .. older
    else
      terms = ARGV[2] .. ' ' .. moment .. (terms and ';' .. terms or '')
    end
    answer[7] = terms
    redis.call('HSET', meta, 'terms', terms)
  end
  -- What is pending outlives the rest, and is written as it was told.
  local told = string.match(terms or '', '^%d+ (%S+)')
  local entry = table.concat(batch, ' ')
  redis.call('HSET', pending, moment, told and '=' .. told .. ' ' .. entry or entry)
  redis.call('HSET', winners, unpack(places))
  redis.call('HSET', meta, 'count', count, 'next', following, 'last', moment,
    'pending', batches + 1)
end
-- Closed is closed, also for a clock that steps back.
if refusal == 'X' and closed ~= '1' then
  redis.call('HSET', meta, 'closed', '1')
end
return answer
