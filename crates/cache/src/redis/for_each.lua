-- Runs a script for each of several calls, so that it is called once.
--
-- KEYS  those of each call, one after the other
-- ARGV  of each call: how many keys it has, how many arguments, and these
--
-- Answers for each call what the script answers, or as a text the error by which it failed. What the
-- server refuses to the first call it refuses to all, as a replica does: that is the only answer. An
-- error that begins with ERR or WRONGTYPE is of the call itself.

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
    if #answers == 0 and not string.find(said, '^ERR ') and not string.find(said, '^WRONGTYPE ') then
      return redis.error_reply(said)
    end
    answer = said
  end
  answers[#answers + 1] = answer
end
return answers
