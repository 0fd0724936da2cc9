# SPDX-License-Identifier: MIT
"""What the bench shows: the machine, a table a row in Markdown, the targets, and the same as JSON."""
import json
import os
import platform
import subprocess
import time

from .rows import BUSY, KINDS, METRICS, ROWS, TARGETS, bound_of, target_text, verdict


def machine():
    """In general words: what a reader must know to weigh the figures, and no name."""
    model = "?"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {"cpus": len(os.sched_getaffinity(0)), "model": model, "kernel": platform.release().split("-")[0],
            "load_at_start": round(os.getloadavg()[0], 2), "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
            "system": system()}


def system():
    try:
        with open("/etc/os-release") as f:
            fields = dict(line.strip().split("=", 1) for line in f if "=" in line)
        return fields.get("PRETTY_NAME", "?").strip('"')
    except OSError:
        return "?"


def versions(bench, programs):
    found = {p.name: p.version(bench) for p in programs}
    for name, command in (("redis", ["redis-server", "--version"]), ("valgrind", ["valgrind", "--version"])):
        try:
            out = subprocess.run(command, capture_output=True, text=True).stdout
            found[name] = next(w for w in out.replace("v=", "").replace("valgrind-", "").split() if w[:1].isdigit())
        except (OSError, StopIteration):
            pass
    return found


def runs(meta):
    if meta["rounds"] == 1:
        return "%d s a run" % meta["seconds"]
    return "%d runs of %d s each, the programs by turns, of which the median stands here" % (meta["rounds"], meta["seconds"])


def cell(key, result):
    if key not in result:
        return "-"
    return "n/a" if result[key] is None else METRICS[key].form % result[key]


def columns(row, results):
    """The metrics of the row's kind that anybody has."""
    return [key for key in KINDS[ROWS[row].kind] if any(result.get(key) is not None for result in results[row].values())]


def ratio(key, mine, other):
    """How many times weir's the other's is."""
    if METRICS[key].better is None or not mine.get(key) or not other.get(key):
        return ""
    return "%.2f" % (other[key] / mine[key])


def judged(row, results):
    """The targets of a row, each with its verdict."""
    return ["%s: %s" % (target_text(t), verdict(t, results)) for t in TARGETS if t.row == row]


def row_table(row, results):
    keys, mine = columns(row, results), results[row].get("weir", {})
    lines = ["### %s: %s" % (row, ROWS[row].what), "",
             "| program | " + " | ".join(METRICS[k].head for k in keys) + " | target |",
             "| --- |" + " ---: |" * len(keys) + " --- |"]
    for program, result in results[row].items():
        cells = [cell(k, result) for k in keys]
        if program != "weir" and mine:
            times = [ratio(k, mine, result) for k in keys]
            cells = ["%s (x%s)" % (c, t) if t else c for c, t in zip(cells, times)]
        target = "<br>".join(judged(row, results)) if program == "weir" else ""
        lines.append("| %s | %s | %s |" % (program, " | ".join(cells), target))
    return lines + [""]


def target_table(results):
    lines = ["| row | target | weir has | the bound | |", "| --- | --- | ---: | ---: | --- |"]
    for t in TARGETS:
        if t.row not in results:
            continue
        said, bound, form = verdict(t, results), bound_of(t, results), METRICS[t.metric].form
        lines.append("| %s | %s | %s | %s | %s |" % (
            t.row, target_text(t), cell(t.metric, results[t.row].get("weir", {})), "-" if bound is None else form % bound,
            "**not met**" if said == "not met" else said))
    return lines + [""]


def legend(results):
    used = [k for k in METRICS if any(k in columns(row, results) for row in results)]
    return ["- %s: %s" % (METRICS[k].head, METRICS[k].means) for k in used] + [
        "- (x2.00): the program's figure is so many times weir's in the same row"]


def markdown(meta, results, skipped, picture=None):
    m = meta["machine"]
    lines = ["# weir beside other proxies", "",
             "%s, %d CPUs (%s), Linux %s, %s. %s." % (m["date"], m["cpus"], m["model"], m["kernel"], m["system"], ", ".join(
                 "%s %s" % v for v in meta["versions"].items())), ""]
    if m["load_at_start"] > BUSY:
        lines += ["The machine was not idle (load %.1f): times, rates and latencies are too high or too low, and say little; "
                  "instructions do not drift, and system calls only in their waits." % m["load_at_start"], ""]
    lines += ["One worker each, the same origin (130 bytes of body unless said otherwise) and client (loadtest/load, 32 kept "
              "connections unless said otherwise), keep-alive on both sides, no access logs, no bodies on disk; "
              "%s." % runs(meta), ""]
    if picture:
        lines += ["![weir beside other proxies](%s)" % picture, ""]
    lines += ["## Targets", ""] + target_table(results) + ["## Rows", ""]
    for row in results:
        if results[row]:
            lines += row_table(row, results)
    if skipped:
        lines += ["## Left out", ""] + ["- " + s for s in skipped] + [""]
    return "\n".join(lines + ["## What the columns mean", ""] + legend(results)) + "\n"


def save(folder, meta, results, skipped, picture=None):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "bench.md"), "w") as f:
        f.write(markdown(meta, results, skipped, picture))
    with open(os.path.join(folder, "bench.json"), "w") as f:
        json.dump(dict(meta, rows=results, skipped=skipped), f, indent=1)
        f.write("\n")
