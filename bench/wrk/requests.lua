-- Requests of one method, each with the token of the next user of this thread's own slice.
--
-- Arguments: METHOD; PATHS, a file with one request path a line, taken in turn; and, unless the
-- requests go without a token, TOKENS, of which thread 0 reads TOKENS.0 and thread 1 TOKENS.1 (one
-- token a line, so that no user is shared).
-- The tokens are read as they are needed: loading a million of them would exhaust LuaJIT's memory.

local threads = {}

function setup(thread)
  thread:set("slice", #threads)
  table.insert(threads, thread)
end

function init(args)
  rewound = 0
  tokens = args[3] and assert(io.open(args[3] .. "." .. slice))
  local fields = "\r\nHost: " .. wrk.host .. ":" .. wrk.port
  if args[1] == "POST" then
    fields = fields .. "\r\nContent-Length: 0"
  end
  fields = fields .. (tokens and "\r\nAuthorization: Bearer " or "\r\n\r\n")
  heads = {}
  for path in io.lines(args[2]) do
    heads[#heads + 1] = args[1] .. " " .. path .. " HTTP/1.1" .. fields
  end
  turn = slice * math.floor(#heads / 2)
end

function request()
  turn = turn % #heads + 1
  if not tokens then
    return heads[turn]
  end
  local token = tokens:read("*l")
  if not token then
    -- From here on users repeat; the harness refuses such a run where that would matter.
    rewound = rewound + 1
    tokens:seek("set")
    token = tokens:read("*l")
  end
  return heads[turn] .. token .. "\r\n\r\n"
end

-- One line of `name=value` pairs for the harness, which ignores the rest of wrk's output.
function done(summary, latency, requests)
  local rewinds = 0
  for _, thread in ipairs(threads) do
    rewinds = rewinds + thread:get("rewound")
  end
  local errors = summary.errors
  io.write(string.format(
    "RESULT requests=%d duration_us=%d refused=%d socket_errors=%d rewinds=%d p50_us=%d p99_us=%d\n",
    summary.requests, summary.duration, errors.status,
    errors.connect + errors.read + errors.write + errors.timeout, rewinds,
    latency:percentile(50), latency:percentile(99)))
end
