-- Finds out what the user may not do of all that deciding claims takes. It changes nothing: nobody
-- has the key, and what would make it is asked for such that it cannot.
--
-- ARGV  the key
--
-- Answers the names of the commands that the server denies the user, by themselves or on such a
-- key.

local key = ARGV[1]
local calls = {
  { 'DEL', key },
  { 'EXPIRE', key, '1' },
  { 'GET', key },
  { 'HDEL', key, 'field' },
  { 'HEXISTS', key, 'field' },
  { 'HGET', key, 'field' },
  { 'HINCRBY', key, 'field', 'no number' },
  { 'HLEN', key },
  { 'HMGET', key, 'field' },
  { 'HSCAN', key, '0' },
  { 'HSET', key, 'field', 'value', 'field without a value' },
  { 'PEXPIRE', key, '1' },
  { 'SET', key, 'value', 'XX' },
  { 'TIME' },
  { 'TTL', key },
  { 'UNLINK', key },
}

-- By Redis 7.2 and later, and by those before, which have no code for it within a script.
local denials = { 'NOPERM', 'The user executing the script' }
local denied = {}
for _, call in ipairs(calls) do
  local answer = redis.pcall(unpack(call))
  local said = type(answer) == 'table' and answer.err or ''
  for _, denial in ipairs(denials) do
    if string.find(said, denial, 1, true) then
      denied[#denied + 1] = call[1]
      break
    end
  end
end
return denied
