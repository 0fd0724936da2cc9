-- SPDX-License-Identifier: MIT
-- Many clients, named by X-Forwarded-For one after the other, as behind a load balancer.
package.path = os.getenv("WEIR_LUA") .. "/?.lua;" .. package.path
local session = require("session")
session.install(session.number("WEIR_CLIENTS", 10000))
