# SPDX-License-Identifier: MIT
"""The parts of loadtest/bench: rows (what is measured), programs (whom), measure (how), report and plot (what is shown)."""
