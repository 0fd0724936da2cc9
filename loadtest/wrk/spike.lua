-- SPDX-License-Identifier: MIT
-- One client: calm, a sudden burst, calm. (The stages are rows of loadtest/run.)
package.path = os.getenv("WEIR_LUA") .. "/?.lua;" .. package.path
require("session").install(1)
