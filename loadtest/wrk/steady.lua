-- SPDX-License-Identifier: MIT
-- One client, a steady number of connections; with RATE, about that many requests a second. (The stages are rows of loadtest/run.)
package.path = os.getenv("WEIR_LUA") .. "/?.lua;" .. package.path
require("session").install(1)
