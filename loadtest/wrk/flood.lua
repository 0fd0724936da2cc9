-- SPDX-License-Identifier: MIT
-- One address that sends as fast as it can, without a pause. (The stages are rows of loadtest/run.)
package.path = os.getenv("WEIR_LUA") .. "/?.lua;" .. package.path
require("session").install(1)
