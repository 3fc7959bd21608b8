-- Runs a script for each of several calls, so that it is called once.
--
-- KEYS  those of each call, one after the other
-- ARGV  of each call: how many keys it has, how many arguments, and these
--
-- Answers for each call what the script answers, or as a text the error by which it failed. What the
-- server refuses to the first call it refuses to all, as a replica does: that is the only answer. It
-- begins with a word for that, which is not ERR or WRONGTYPE: those are of the call itself.

local function run(KEYS, ARGV, shared)
--[[ text ]]
end

local shared, answers, key, word = {}, {}, 1, 1
while word <= #ARGV do
  local keys, words = tonumber(ARGV[word]), tonumber(ARGV[word + 1])
  local of_call = { unpack(KEYS, key, key + keys - 1) }
  local with = { unpack(ARGV, word + 2, word + 1 + words) }
  key, word = key + keys, word + 2 + words
  local is_run, answer = pcall(run, of_call, with, shared)
  if not is_run then
    local said = type(answer) == 'table' and answer.err or tostring(answer)
    -- Before Redis 7 it stands behind the place in the script.
    said = string.match(said, '^@user_script: %d+: %-(.*)$') or said
    local code = string.match(said, '^(%u+) ')
    if #answers == 0 and code and code ~= 'ERR' and code ~= 'WRONGTYPE' then
      return redis.error_reply(said)
    end
    answer = said
  end
  answers[#answers + 1] = answer
end
return answers
