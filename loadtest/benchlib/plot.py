# SPDX-License-Identifier: MIT
"""The bench's plot: a panel a question, a group a row, a line a program. Shorter is better everywhere.

Each line bears its program's name and its value, so that nothing hangs on colours alone; these are Okabe and Ito's,
which the colour-blind tell apart. A small upright stroke on weir's line is its target.
"""
import os

import matplotlib
matplotlib.use("Agg")
from matplotlib import pyplot    # noqa: E402

from .rows import BUSY, TARGETS, bound_of    # noqa: E402

COLOURS = {"floor": "#999999", "weir": "#0072B2", "nginx": "#009E73", "nginx-lua": "#56B4E9", "haproxy": "#E69F00",
           "envoy": "#D55E00", "traefik": "#CC79A7"}
ORDER = list(COLOURS)
GAP = 0.9    # between two groups, in lines

# title, rows, metrics (the first that a result has), logarithmic
PANELS = [
    ("Instructions of user space a request (log)", ["pass-through", "memory", "redis", "refusals"], ["instructions"], True),
    ("System calls a request", ["pass-through", "memory", "redis", "refusals"], ["calls"], False),
    ("CPU a request, µs (redis: with the store's)", ["pass-through", "memory", "redis", "refusals"],
     ["total_cpu_us", "cpu_us"], False),
    ("CPU seconds for a gigabyte of bodies", ["down-64k", "down-100m", "up-100m"], ["cpu_s_per_gb"], False),
    ("TLS: CPU a request or handshake, µs (log)", ["tls", "tls-resumed", "tls-full", "tls-full-rsa"],
     ["handshake_cpu_us", "cpu_us"], True),
    ("Bytes an idle connection (log)", ["idle"], ["idle_bytes"], True),
]


def values(results, row, metrics):
    """(program, metric, value) of those that were measured."""
    found = []
    for program in sorted(results.get(row, {}), key=ORDER.index):
        result = results[row][program]
        metric = next((m for m in metrics if result.get(m) is not None), None)
        if metric and result[metric] > 0:
            found.append((program, metric, result[metric]))
    return found


def target(results, row, metric):
    """The bound to draw; none where it is no more than another program's own line."""
    return next((bound_of(t, results) for t in TARGETS
                 if (t.row, t.metric) == (row, metric) and not (t.peer and t.bound == 1)), None)


def shown(value):
    return "{:,.0f}".format(value) if value >= 100 else "%.3g" % value


def draw_line(axes, y, left, program, value, bound):
    weir = program == "weir"
    end = max(value, bound) if weir and bound else value
    axes.plot([left, value], [y, y], color=COLOURS[program], linewidth=3.4 if weir else 2, solid_capstyle="butt", zorder=2)
    axes.plot([value], [y], "o", color=COLOURS[program], markersize=5 if weir else 3.5, zorder=3)
    text = "%s %s" % (shown(value), program) + (" (target %s)" % shown(bound) if weir and bound else "")
    axes.annotate(text, (end, y), xytext=(6, 0), textcoords="offset points", va="center",
                  fontsize=7.5, color="black" if weir else "#444444", fontweight="bold" if weir else "normal",
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.8}, zorder=4)
    if weir and bound is not None:
        axes.plot([bound], [y], "|", color="black", markersize=11, markeredgewidth=1.6, zorder=5)


def draw_panel(axes, results, title, rows, metrics, log):
    groups = [(row, values(results, row, metrics)) for row in rows]
    groups = [g for g in groups if g[1]]
    every = [v for _, found in groups for _, _, v in found]
    axes.set_title(title, fontsize=9, loc="left", fontweight="bold")
    if not every:
        axes.set_axis_off()
        return
    left = min(every) / 2 if log else 0
    y, ticks = 0, []
    for row, found in groups:
        ticks.append((y + (len(found) - 1) / 2, row))
        for program, metric, value in found:
            draw_line(axes, y, left, program, value, target(results, row, metric))
            y += 1
        y += GAP
    if log:
        axes.set_xscale("log")
        axes.set_xlim(left, left * (max(every) / left) ** 1.5)    # room for the last label
    else:
        axes.set_xlim(0, max(every) * 1.5)
    axes.set_ylim(y - GAP - 0.3, -0.7)
    axes.set_yticks([t for t, _ in ticks])
    axes.set_yticklabels([name for _, name in ticks], fontsize=8.5)
    axes.tick_params(axis="x", labelsize=7)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#dddddd", linewidth=0.6, zorder=0)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)


def lines_of(results, panel):
    groups = [len(values(results, row, panel[2])) for row in panel[1]]
    return sum(groups) + GAP * max(0, len([g for g in groups if g]) - 1)


def caption(data):
    m = data["machine"]
    text = "%s, %d CPUs (%s). " % (m["date"], m["cpus"], m["model"])
    text += ", ".join("%s %s" % (p, v) for p, v in data["versions"].items() if p in COLOURS and p != "floor")
    text += ".  floor: a relay that parses nothing.  |: weir's target."
    if m["load_at_start"] > BUSY:
        text += "\nThe machine was busy with other work: CPU times are too high for all, instructions are not touched."
    return text


def plot(data, folder):
    """Draws bench.svg into the folder; its name."""
    results = data["rows"]
    panels = [p for p in PANELS if lines_of(results, p)]
    if not panels:
        return None
    across = min(3, len(panels))
    bands = [panels[i:i + across] for i in range(0, len(panels), across)]
    heights = [max(4, max(lines_of(results, p) for p in band)) for band in bands]
    matplotlib.rcParams.update({"svg.hashsalt": "weir", "svg.fonttype": "none", "font.family": "sans-serif",
                                "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"]})
    size = (4.1 * across, 1.1 + 0.8 * len(bands) + 0.165 * sum(heights))
    figure, grid = pyplot.subplots(len(bands), across, squeeze=False, figsize=size, gridspec_kw={"height_ratios": heights})
    for i, band in enumerate(bands):
        for k in range(across):
            if k < len(band):
                draw_panel(grid[i][k], results, *band[k])
            else:
                grid[i][k].set_axis_off()
    figure.suptitle("weir beside other proxies: less is better", x=0.01, ha="left", fontsize=12, fontweight="bold")
    figure.text(0.01, 0.008, caption(data), fontsize=7.5, color="#444444")
    figure.tight_layout(rect=(0, 0.025, 1, 0.975))
    os.makedirs(folder, exist_ok=True)
    figure.savefig(os.path.join(folder, "bench.svg"), metadata={"Date": None})
    pyplot.close(figure)
    return "bench.svg"
