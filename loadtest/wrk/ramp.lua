-- SPDX-License-Identifier: MIT
-- One client, whose connections grow stage by stage. (The stages are rows of loadtest/run.)
package.path = os.getenv("WEIR_LUA") .. "/?.lua;" .. package.path
require("session").install(1)
