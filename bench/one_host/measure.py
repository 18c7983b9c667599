"""Runs the tools in turns on what facts.py wrote, prints their times and ratios, and compares their answers."""

import argparse
import collections
import os
import pathlib
import shutil
import sys

import answers

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
import turns

# What Palisade is asked to reach (docs/benchmarks.md).
GOALS = {"debsecan": 20, "oscap": 400}

# `codes`: exit codes that are answers; Palisade's 1 and 2 tell what it found. `read`: how to read the answer.
# `forgets`: a directory that is emptied before every run.
Tool = collections.namedtuple("Tool", "name command environment codes read forgets", defaults=[None])
ANSWERED = (0, 1, 2)
WARM = "palisade, warm"
Run = collections.namedtuple("Run", "wall_ms cpu_ms")


def tools(work, palisade):
    """The tools that are compared, each as one whole process: start, reading the facts and the host, the answer."""
    status = work / "root/var/lib/dpkg/status"
    # oscap asks libapt for the packages: this points it at the benchmark's host, which has no package lists.
    (work / "apt/lists/partial").mkdir(parents=True)
    (work / "apt.conf").write_text(
        f'Dir::State::status "{status}";\nDir::State::lists "{work}/apt/lists";\nDir::Cache "{work}/apt";\n'
    )
    apt = {"APT_CONFIG": str(work / "apt.conf")}
    debsecan = ["debsecan", "--config", "/dev/null", "--whitelist", str(work / "none"), "--status", str(status)]
    facts = ["--source", f"file://{work}/debsecan", "--suite", "bookworm", "--format", "simple"]
    oscap = ["oscap", "oval", "eval"]
    oval = str(work / "oval.xml")
    return [
        # Warm: the feed was read by an earlier check. Cold: it was never read.
        Tool(WARM, check(palisade, work, work / "root", "osv.zip"), {}, ANSWERED, answers.palisade),
        Tool(
            "palisade, cold",
            check(palisade, work, work / "root", "osv.zip", cache="cold"),
            {},
            ANSWERED,
            answers.palisade,
            forgets=work / "cold",
        ),
        Tool("debsecan", debsecan + facts, {}, (0,), answers.debsecan),
        Tool("oscap", [*oscap, oval], apt, (0,), answers.oscap),
        # Without validating the definitions against their schema first: the least that oscap can do.
        Tool("oscap --skip-valid", [*oscap, "--skip-valid", oval], apt, (0,), answers.oscap),
    ]


def parts(work, palisade):
    """Runs that show where Palisade's time goes: each does a part of the whole."""
    bare = work / "bare"
    for directory in ("etc", "var/lib/dpkg", "proc"):
        (bare / directory).mkdir(parents=True)
    (bare / "etc/os-release").write_bytes((work / "root/etc/os-release").read_bytes())
    (bare / "var/lib/dpkg/status").write_text(
        "Package: alone\nStatus: install ok installed\nArchitecture: all\nMaintainer: Nobody <nobody@example.invalid>\n"
        "Version: 1\nDescription: the only package\n\n"
    )
    return [
        Tool("process start: palisade --version", [palisade, "--version"], {}, (0,), None),
        Tool("the host without a feed", check(palisade, work, work / "root"), {}, ANSWERED, None),
        Tool("the feed on a host with one package", check(palisade, work, bare, "osv.zip"), {}, ANSWERED, None),
    ]


def floors(work):
    """What any program needs that is started, and one that reads the host's packages as well: the least of a ratio."""
    return [
        Tool("a program that does nothing: true", ["true"], {}, (0,), None),
        Tool("one that reads the packages: cat status", ["cat", str(work / "root/var/lib/dpkg/status")], {}, (0,), None),
    ]


def check(palisade, work, root, *feeds, cache="cache"):
    """The command that checks `root` with these feeds, which lie in `work`, as the cache does."""
    command = [palisade, "check", "--offline", "--format", "json", "--cache", str(work / cache), "--root", str(root)]
    return command + [word for feed in feeds for word in ("--feed", str(work / feed))]


def measure(measured, work, runs):
    """Medians of `runs` runs of each tool, in turns."""

    def forget(tool):
        if tool.forgets:
            shutil.rmtree(tool.forgets, ignore_errors=True)

    medians = turns.medians("one-host", measured, work, runs, before=forget)
    return {name: Run(one.wall * 1000, one.cpu * 1000) for name, one in medians.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("work", type=pathlib.Path, metavar="WORK", help="the directory that facts.py wrote")
    parser.add_argument("--palisade", required=True, help="the binary to measure")
    parser.add_argument("--runs", type=int, required=True, help="runs of each tool")
    options = parser.parse_args()
    work = options.work.resolve()

    load_before = os.getloadavg()[0]
    measured = tools(work, options.palisade)
    medians = measure(measured, work, options.runs)
    found = {tool.name: tool.read(work, work / f"out.{index}") for index, tool in enumerate(measured)}
    split = measure(parts(work, options.palisade), work, options.runs)
    floor = measure(floors(work), work, options.runs)

    base, cold = medians[WARM], medians["palisade, cold"]
    print(f"\n{'tool':<20}{'wall ms':>10}{'CPU ms':>10}{'findings':>10}{'wall ratio':>12}{'CPU ratio':>11}{'to cold':>9}{'goal':>8}")
    for tool in measured:
        one = medians[tool.name]
        goal = GOALS.get(tool.name.split()[0])
        print(
            f"{tool.name:<20}{one.wall_ms:>10.1f}{one.cpu_ms:>10.1f}{len(found[tool.name]):>10}"
            f"{one.wall_ms / base.wall_ms:>11.1f}×{one.cpu_ms / base.cpu_ms:>10.1f}×"
            f"{one.wall_ms / cold.wall_ms:>8.1f}×{f'{goal}×' if goal else '':>8}"
        )
    print("\nwhere palisade's time goes")
    start, host, feed = split.values()
    rest = Run(*(whole - one - other + twice for whole, one, other, twice in zip(base, host, feed, start)))
    for name, one in [*split.items(), ("the rest: matching, and telling what matched", rest)]:
        print(f"  {name:<46}{one.wall_ms:>8.1f} ms wall{one.cpu_ms:>8.1f} ms CPU")
    print("\nthe floor")
    for name, one in floor.items():
        print(f"  {name:<46}{one.wall_ms:>8.1f} ms wall{one.cpu_ms:>8.1f} ms CPU")
    for name, goal in GOALS.items():
        print(f"  {f'{goal} times faster than {name} is':<46}{medians[name].wall_ms / goal:>8.1f} ms wall")
    print(
        f"\nmedians of {options.runs} runs each, in turns; {os.cpu_count()} CPUs;"
        f" load {load_before:.2f} before, {os.getloadavg()[0]:.2f} after"
    )
    sys.exit(answers.compare(work, found))


if __name__ == "__main__":
    main()
