#!/usr/bin/env python3
"""Counts attempts in an archive of logs with Spark: each partition by `palisade census --partition`, all of them united by
`palisade census merge`. The outcome is that of one run over everything, byte for byte.

    spark-submit census_spark.py --out all.census 's3a://logs/2020/*.gz'
    palisade census merge all.census

`palisade` has to be installed on the workers, in the same version as here. Logs are whatever Spark reads: a file, a directory, a
pattern. Bytes that are no UTF-8 arrive as they are, which `rdd.pipe` would not do: attackers send such bytes.

A partition may begin in the middle of a file. Give the `#Fields:` line of W3C logs with --format; W3C logs without dates
can not be counted this way. Copies of lines are recognised within one partition at most: give each line once.

Exit codes: 0 counted, 2 counted, but some lines could not be read (workers' logs tell which), 1 failed.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import threading

# What `palisade census` ends with where something could not be read.
INCOMPLETE = 2


def main():
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("logs", nargs="+", help="files, directories or patterns that Spark reads")
    words.add_argument("--out", required=True, help="where the united census is written, on this machine")
    words.add_argument("--palisade", default="palisade", help="the program, as it is called on the workers and here")
    words.add_argument("--key", help="the key of pseudonyms, 32 bytes in a file; it is handed to the workers")
    words.add_argument("--format", help="the format of lines, or the #Fields: of W3C logs")
    words.add_argument("--zone", help="whose days are counted")
    words.add_argument("--rules", action="append", default=[], help="a file of rules to use too; handed to the workers")
    words.add_argument("--show-sources", action="store_true", help="keep addresses instead of pseudonyms")
    words.add_argument("--partitions", type=int, help="how many parts at least, so far as files can be cut")
    asked = words.parse_args()

    from pyspark import SparkFiles
    from pyspark.sql import SparkSession

    spark = SparkSession.builder.appName("palisade census").getOrCreate()
    # Every worker needs the key that this machine has, or one source on two of them is two.
    key = asked.key or own_key(asked.palisade)
    spark.sparkContext.addFile(key)
    for rules in asked.rules:
        spark.sparkContext.addFile(rules)
    options = [(name, value) for name, value in [("--format", asked.format), ("--zone", asked.zone)] if value]
    plain = [word for pair in options for word in pair] + ["--show-sources"] * asked.show_sources
    handed = [("--key", os.path.basename(key))] + [("--rules", os.path.basename(rules)) for rules in asked.rules]
    palisade = asked.palisade

    def count(lines):
        command = [palisade, "census", "--partition", "--quiet", "--threads", "1", *plain]
        for name, file in handed:
            command += [name, SparkFiles.get(file)]
        return piped(command, lines)

    # The column is what stood in the file: Spark does not look into it. A carriage return stays, and is no end of a line.
    read = spark.read.option("lineSep", "\n").text(asked.logs)
    lines = read.selectExpr("cast(value as binary) as line").rdd.map(lambda row: row.line)
    if asked.partitions and lines.getNumPartitions() < asked.partitions:
        lines = lines.repartition(asked.partitions)
    parts = lines.mapPartitions(count).collect()
    spark.stop()

    merge = [asked.palisade, "census", "merge", "--quiet", "--key", key, "--partial", asked.out]
    merge += ["--show-sources"] * asked.show_sources
    for rules in asked.rules:
        merge += ["--rules", rules]
    with tempfile.NamedTemporaryFile(suffix=".census") as united:
        for part, _ in parts:
            united.write(part + b"\n")
        united.flush()
        merged = subprocess.run([*merge, united.name], stdout=subprocess.DEVNULL)
    # An own host among the sources (1) is told by the merge that people look at.
    if merged.returncode not in (0, 1):
        sys.exit(f"palisade census merge ended with {merged.returncode}")
    unread = sum(1 for _, status in parts if status == INCOMPLETE)
    if unread:
        print(f"{unread} of {len(parts)} parts have lines that could not be read", file=sys.stderr)
        sys.exit(INCOMPLETE)


def piped(command, lines):
    """The one line that the command makes of these, and how it ended."""
    child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def feed():
        try:
            for line in lines:
                child.stdin.write(line)
                child.stdin.write(b"\n")
            child.stdin.close()
        except BrokenPipeError:
            # How the command ended says why.
            pass

    feeder = threading.Thread(target=feed)
    feeder.start()
    out = child.stdout.read()
    feeder.join()
    status = child.wait()
    if status not in (0, INCOMPLETE):
        raise RuntimeError(f"{command[0]} census ended with {status}")
    yield out.strip(), status


def own_key(palisade):
    """The user's own key; the first census makes it."""
    state = os.environ.get("XDG_STATE_HOME") or os.path.expanduser("~/.local/state")
    key = os.path.join(state, "palisade", "census.key")
    if not os.path.exists(key):
        nothing = [palisade, "census", "--partition", "--quiet"]
        subprocess.run(nothing, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=True)
    return key


if __name__ == "__main__":
    main()
