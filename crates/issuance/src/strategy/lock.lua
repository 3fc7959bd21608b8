-- Lets a lock go, if it is still the holder's, or keeps it for longer.
--
-- KEYS  the lock
-- ARGV  the holder's token, then how long to keep it in milliseconds, or '0' to let it go

if redis.call('GET', KEYS[1]) ~= ARGV[1] then
  return 0
end
if ARGV[2] == '0' then
  return redis.call('DEL', KEYS[1])
end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
