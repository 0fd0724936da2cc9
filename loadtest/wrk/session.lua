-- SPDX-License-Identifier: MIT
-- One stage of a load-test session; the scripts beside this one say how clients are named. loadtest/run gives:
--   WEIR_HOST (Host header), WEIR_CLIENT (first address), WEIR_CLIENTS (how many), WEIR_DELAY_MS (between a
--   connection's requests). At the end a line `RESULT {...}` with counts and `HIST us count` lines go to stdout.

local session = {}
local threads = {}

local function number(name, otherwise)
  return tonumber(os.getenv(name) or "") or otherwise
end

local function address(base, n)
  local a, b, c, d = base:match("^(%d+)%.(%d+)%.(%d+)%.(%d+)$")
  local whole = ((a * 256 + b) * 256 + c) * 256 + d + n
  return string.format("%d.%d.%d.%d", math.floor(whole / 16777216) % 256, math.floor(whole / 65536) % 256,
                       math.floor(whole / 256) % 256, whole % 256)
end

-- Requests are made once; a thread walks through its own share of the addresses.
function session.build(clients)
  local base = os.getenv("WEIR_CLIENT") or "198.18.0.1"
  local requests = {}
  if os.getenv("WEIR_HOST") then wrk.headers["Host"] = os.getenv("WEIR_HOST") end
  for i = 1, clients do
    wrk.headers["X-Forwarded-For"] = address(base, i - 1)
    requests[i] = wrk.format("GET")
  end
  return requests
end

function session.install(clients)
  local started = 0
  function setup(thread)
    thread:set("offset", started)
    started = started + 1
    table.insert(threads, thread)
  end

  function init(args)
    requests = session.build(clients)
    at = (offset * 7919) % #requests
    statuses, others = {}, 0
    s200, s429 = 0, 0
  end

  function request()
    at = at + 1
    if at > #requests then at = 1 end
    return requests[at]
  end

  function response(status)
    if status == 200 then
      s200 = s200 + 1
    elseif status == 429 then
      s429 = s429 + 1
    else
      statuses[status] = (statuses[status] or 0) + 1
    end
    told = string.format("200=%d 429=%d", s200, s429)
    for code, n in pairs(statuses) do told = told .. string.format(" %d=%d", code, n) end
  end

  local pause = number("WEIR_DELAY_MS", 0)
  if pause > 0 then
    function delay() return pause end
  end

  function done(summary, latency)
    local counts = {}
    for _, thread in ipairs(threads) do
      for code, n in (thread:get("told") or ""):gmatch("(%d+)=(%d+)") do
        counts[code] = (counts[code] or 0) + tonumber(n)
      end
    end
    local shown = {}
    for code, n in pairs(counts) do
      if n > 0 then table.insert(shown, string.format('"%s": %d', code, n)) end
    end
    print(string.format('RESULT {"requests": %d, "duration_us": %d, "bytes": %d, "connect": %d, "read": %d, ' ..
                        '"write": %d, "timeout": %d, "statuses": {%s}}', summary.requests, summary.duration,
                        summary.bytes, summary.errors.connect, summary.errors.read, summary.errors.write,
                        summary.errors.timeout, table.concat(shown, ", ")))
    for i = 1, #latency do
      local us, count = latency(i)
      print(string.format("HIST %d %d", us, count))
    end
  end
end

session.number = number
return session
