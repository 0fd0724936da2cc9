-- SPDX-License-Identifier: MIT
-- For the benchmark: WEIR_CLIENTS addresses of 198.18.0.0/15, one after the other, and nothing else that takes time.
local n = tonumber(os.getenv("WEIR_CLIENTS"))
local requests, at = {}, 0

function init(args)
  for i = 1, n do
    wrk.headers["X-Forwarded-For"] = string.format("198.%d.%d.%d", 18 + math.floor(i / 65536),
                                                   math.floor(i / 256) % 256, i % 256)
    requests[i] = wrk.format("GET")
  end
end

function request()
  at = at + 1
  if at > n then at = 1 end
  return requests[at]
end
