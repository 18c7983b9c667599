"""Runs programs in turns, and tells what each takes."""

import collections
import os
import pathlib
import statistics
import sys
import time

# Wall time from start to exit and CPU of both kinds in seconds; the largest memory in MiB.
Run = collections.namedtuple("Run", "wall cpu mib")


def run(bench, tool, output):
    """One run of a tool (`name`, `command`, `codes` that are answers, perhaps an `environment`); what it says is in `output`."""
    environment = {**os.environ, "LC_ALL": "C.UTF-8", **getattr(tool, "environment", {})}
    with open(output, "wb") as out, open(f"{output}.err", "wb") as err:
        files = [(os.POSIX_SPAWN_DUP2, out.fileno(), 1), (os.POSIX_SPAWN_DUP2, err.fileno(), 2)]
        start = time.perf_counter()
        pid = os.posix_spawnp(tool.command[0], tool.command, environment, file_actions=files)
        _, status, usage = os.wait4(pid, 0)
        wall = time.perf_counter() - start
    code = os.waitstatus_to_exitcode(status)
    if code not in tool.codes:
        words = pathlib.Path(f"{output}.err").read_text(errors="replace").strip()
        sys.exit(f"{bench}: {' '.join(tool.command)} failed with code {code}: {words}")
    return Run(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def medians(bench, tools, work, runs, before=lambda tool: None):
    """Medians of each, in turns, so that a busy moment of the machine hits them all. The first turn warms the page cache."""
    times = collections.defaultdict(list)
    for turn in range(runs + 1):
        for place, tool in enumerate(tools):
            before(tool)
            once = run(bench, tool, work / f"out.{place}")
            if turn > 0:
                times[tool.name].append(once)
    return {name: Run(*(statistics.median(column) for column in zip(*all_))) for name, all_ in times.items()}
