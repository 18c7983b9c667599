"""Reads the tools' answers as sets of (source, CVE) and compares them with what dpkg's own order says."""

import collections
import json
import re
import subprocess

# As many differences of one kind are printed; the rest are counted.
SHOWN = 3

Installed = collections.namedtuple("Installed", "name version source source_version")


def palisade(_work, output):
    """Every CVE of a finding whose verdict is that the package is affected."""
    report = json.loads(output.read_text())
    return {
        (entry["source"], cve)
        for entry in report["entries"]
        for finding in entry["findings"]
        if finding["verdict"]["verdict"] == "affected"
        for cve in finding["cves"]
    }


def debsecan(work, output):
    """Lines of "CVE binary-package"; the source is the one that package is built from."""
    sources = {package.name: package.source for package in installed(work)}
    return {(sources[name], cve) for cve, name in (line.split() for line in output.read_text().splitlines())}


def oscap(work, output):
    """Definitions that are true."""
    facts = {definition: (source, cve) for definition, source, cve, _ in definitions(work)}
    return {facts[one] for one in re.findall(r"^Definition (\S+): true$", output.read_text(), re.MULTILINE)}


def installed(work):
    """The packages of the host's status file."""
    packages = []
    for stanza in (work / "root/var/lib/dpkg/status").read_text().strip().split("\n\n"):
        field = dict(re.findall(r"^(Package|Version|Source): (.*)$", stanza, re.MULTILINE))
        source = re.fullmatch(r"(\S+)(?: \((\S+)\))?", field.get("Source", field["Package"]))
        packages.append(Installed(field["Package"], field["Version"], source[1], source[2] or field["Version"]))
    return packages


def definitions(work):
    """What each OVAL definition is about: its id, source, CVE, and the binary packages it asks for."""
    return [line.split("\t") for line in (work / "oval.tsv").read_text().splitlines()]


def compare(work, found):
    """Prints how each tool's answer differs from dpkg's, with the reason; 1 if a difference has none."""
    packages = installed(work)
    by_source, by_name = collections.defaultdict(list), collections.defaultdict(list)
    for package in packages:
        by_source[package.source].append(package)
        by_name[package.name].append(package)
    facts = [line.split("\t") for line in (work / "facts.tsv").read_text().splitlines()]
    fixed = {(source, cve): version for source, cve, version in facts}
    asked = {(source, cve): names.split() for _, source, cve, names in definitions(work)}
    earlier = Earlier()
    # A fact applies if some installed package was built from an earlier version of its source.
    truth = {
        fact
        for fact, version in fixed.items()
        if any(earlier(package.source_version, version) for package in by_source[fact[0]])
    }

    def reason(tool, fact):
        """Why `tool` may differ on `fact`; `None` if nothing is known that would explain it."""
        if not tool.startswith("oscap"):
            return None
        # OVAL compares versions of binary packages, the fact is about the source's.
        hits = [one for name in asked[fact] for one in by_name[name] if earlier(one.version, fixed[fact])]
        if bool(hits) == (fact in truth):
            return None
        of = hits or by_source[fact[0]]
        return (
            f"oscap compares the binary package's version: {of[0].name} {of[0].version} is built from"
            f" {of[0].source} {of[0].source_version}, and the fact is about the source"
        )

    print(f"\nanswers: dpkg's own order finds {len(truth)} pairs of source and CVE")
    unexplained = 0
    for tool, its in found.items():
        if its == truth:
            print(f"  {tool}: equal")
            continue
        reasons = collections.defaultdict(list)
        for fact in sorted(its ^ truth):
            reasons[reason(tool, fact)].append(fact)
        for why, pairs in reasons.items():
            unexplained += len(pairs) if why is None else 0
            print(f"  {tool}: {len(pairs)} differ: {why or 'UNEXPLAINED'}")
            for source, cve in pairs[:SHOWN]:
                side = "only here" if (source, cve) in its else "missing here"
                print(f"    {side}: {source} {cve}, fixed in {fixed.get((source, cve), '(no such fact)')}")
            if len(pairs) > SHOWN:
                print(f"    and {len(pairs) - SHOWN} more")
    return 1 if unexplained else 0


class Earlier:
    """Whether one version is earlier than another, asked of dpkg once per pair."""

    def __init__(self):
        self.known = {}

    def __call__(self, one, other):
        if (one, other) not in self.known:
            code = subprocess.run(["dpkg", "--compare-versions", one, "lt", other], check=False).returncode
            self.known[one, other] = code == 0
        return self.known[one, other]
