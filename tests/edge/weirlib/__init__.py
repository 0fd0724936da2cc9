# SPDX-License-Identifier: MIT
"""What the edge tests are written with: processes, a scripted origin, a client of raw bytes, weir and Redis.

Nothing here needs more than Debian's python3 and python3-pytest.
"""
from .client import RawClient, Response, http
from .origin import Origin
from .redis import RedisServer
from .util import Proc, free_port, run_dir, wait_for
from .weir import BIN, ROOT, Weir, base_config, to_yaml, weir_bin

__all__ = ["BIN", "ROOT", "Origin", "Proc", "RawClient", "RedisServer", "Response", "Weir", "base_config",
           "free_port", "http", "run_dir", "to_yaml", "wait_for", "weir_bin"]
