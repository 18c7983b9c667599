"""Runs the census and its peers in turns on one log, prints medians and ratios, and compares the census's answers."""

import argparse
import collections
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))
import turns

# What the census is asked to reach (docs/benchmarks.md).
RIPGREP, CORES, GOACCESS, INFLATE, MEMORY_MB = 0.8, 1.7, 50, 0.9, 150
# GoAccess takes a minute for a gigabyte: it is given so much of the beginning.
CUT_BYTES = 250_000_000

# `codes`: exit codes that are answers; the census says 2 when lines could not be read. `bytes`: what it reads, unpacked.
Tool = collections.namedtuple("Tool", "name command codes bytes")
COUNTED = (0, 2)


def signatures(table):
    """Signatures that others wrote for lines of logs: what is at the beginning of a request follows a quote there."""
    for line in table.read_text().splitlines():
        _, where, regex = line.split("\t")
        yield re.sub(r"(?<!\[)\^", '"', regex) if where == "req" else regex


def cut(log, to):
    """The beginning of the log, up to the end of a line. By pieces: what is held here counts as a tool's memory too."""
    with open(log, "rb") as whole, open(to, "wb") as beginning:
        while beginning.tell() < CUT_BYTES:
            lines = whole.readlines(1 << 20)
            if not lines:
                break
            beginning.writelines(lines)
    return to


def tools(options, work):
    """Everything that is measured."""
    log, packed = options.log, f"{options.log}.gz"
    size = os.path.getsize(log)
    (work / "key").write_bytes(bytes(range(32)))
    palisade = [options.palisade, "census", "--json", "--no-forecast", "--quiet", "--key", str(work / "key")]

    def census(name, threads, file, bytes_=size):
        return Tool(name, [*palisade, "--threads", str(threads), str(file)], COUNTED, bytes_)

    one = census("palisade, 1 thread", 1, log)
    yield one
    yield census("palisade, 2 threads", 2, log)
    yield census("palisade, 2 threads, gz", 2, packed)
    yield census("palisade, 1 thread, gz", 1, packed)
    yield Tool("unpacking alone, our library", [options.maker, "inflate", packed], (0,), size)
    yield Tool("gzip -dc", ["gzip", "-dc", packed], (0,), size)
    if shutil.which("rg"):
        count = ["rg", "-c", "-j1", "-a", "--no-config", "-f"]
        own = work / "patterns"
        own.write_bytes(subprocess.run([options.palisade, "rules", "patterns"], check=True, capture_output=True).stdout)
        yield Tool("rg, what the census looks for", [*count, str(own), log], (0, 1), size)
        if options.signatures:
            theirs = work / "signatures"
            theirs.write_text("\n".join(signatures(options.signatures)) + "\n")
            yield Tool("rg, signatures of others", [*count, str(theirs), log], (0, 1), size)
        else:
            print("SKIPPED: rg with signatures of others, as the reference data is not here")


def goaccess(options, work):
    """GoAccess and the census on the same cut."""
    file = str(cut(options.log, work / "cut.log"))
    size = os.path.getsize(file)
    palisade = [options.palisade, "census", "--json", "--no-forecast", "--quiet", "--key", str(work / "key")]
    report = ["--log-format=COMBINED", "--no-global-config", "--no-progress", "-o", str(work / "goaccess.json")]
    yield Tool("palisade on the cut, 1 thread", [*palisade, "--threads", "1", file], COUNTED, size)
    yield Tool("palisade on the cut, all cores", [*palisade, file], COUNTED, size)
    yield Tool("goaccess on the cut", ["goaccess", file, *report], (0,), size)


def told(medians, tools_):
    """A row for each tool."""
    print(f"\n{'':<34}{'wall s':>9}{'CPU s':>9}{'MB/CPU s':>10}{'MiB':>8}")
    for tool in tools_:
        one = medians[tool.name]
        print(f"{tool.name:<34}{one.wall:>9.2f}{one.cpu:>9.2f}{tool.bytes / 1e6 / one.cpu:>10.0f}{one.mib:>8.0f}")


def ratio(what, value, goal, at_most=False):
    """One figure beside what it is asked to be."""
    reached = value <= goal if at_most else value >= goal
    print(f"{what:<58}{value:>8.2f}   {'≤' if at_most else '≥'} {goal}{'' if reached else '   MISSED'}")


def answer(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("log", metavar="LOG", help="the log; LOG.gz is the same, packed")
    parser.add_argument("--palisade", required=True, help="the binary to measure")
    parser.add_argument("--maker", required=True, help="the benchmark's own binary")
    parser.add_argument("--runs", type=int, required=True, help="runs of each")
    parser.add_argument("--signatures", type=pathlib.Path, help="signatures of others: id, where, regular expression")
    parser.add_argument("--large", help="a log for which memory alone is measured")
    options = parser.parse_args()

    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as directory:
        work = pathlib.Path(directory)
        measured = list(tools(options, work))
        medians = turns.medians("census", measured, work, options.runs)
        answers = {answer(work / f"out.{place}") for place, tool in enumerate(measured) if "palisade" in tool.name}
        told(medians, measured)
        for tool, place in ((tool, place) for place, tool in enumerate(measured) if tool.name.startswith("rg")):
            print(f"{tool.name}: {(work / f'out.{place}').read_text().strip()} lines")
        cuts = []
        if shutil.which("goaccess"):
            cuts = list(goaccess(options, work))
            of_cuts = turns.medians("census", cuts, work, min(options.runs, 2))
            told(of_cuts, cuts)

        one, two = medians["palisade, 1 thread"], medians["palisade, 2 threads"]
        packed, inflate = medians["palisade, 2 threads, gz"], medians["unpacking alone, our library"]
        print()
        for name in (tool.name for tool in measured if tool.name.startswith("rg")):
            ratio(f"CPU of {name}, to ours on one core", medians[name].cpu / one.cpu, RIPGREP)
        ratio("wall of one thread, to that of two", one.wall / two.wall, CORES)
        ratio("wall of unpacking alone, to ours packed, two threads", inflate.wall / packed.wall, INFLATE)
        if cuts:
            one_core, all_cores, theirs = (of_cuts[tool.name] for tool in cuts)
            ratio("CPU of goaccess, to ours on one core", theirs.cpu / one_core.cpu, GOACCESS)
            ratio("wall of goaccess, to ours on all cores", theirs.wall / all_cores.wall, GOACCESS)
        ratio("memory in MiB, two threads", two.mib, MEMORY_MB, at_most=True)
        if options.large:
            size = os.path.getsize(options.large)
            command = [options.palisade, "census", "--json", "--no-forecast", "--quiet", "--key", str(work / "key"), options.large]
            large = turns.run("census", Tool("large", command, COUNTED, size), work / "large")
            print(f"{size / 1e9:.1f} GB once: {large.wall:.0f} s, CPU {large.cpu:.0f} s")
            ratio("memory in MiB, the large log", large.mib, MEMORY_MB, at_most=True)
    print(
        f"\nmedians of {options.runs} runs each, in turns; {os.cpu_count()} CPUs;"
        f" load {load_before:.2f} before, {os.getloadavg()[0]:.2f} after"
    )
    if len(answers) > 1:
        sys.exit("census: answers differ between one thread, two, and the packed log")
    print("the census gave the same bytes with one thread, with two, and of the packed log")


if __name__ == "__main__":
    main()
