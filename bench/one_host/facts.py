"""Writes one host and one set of Debian facts in the forms that three tools read.

A fact is (source package, CVE, first fixed version) for Debian 12. The files in OUT:

  facts.tsv          the facts themselves: source, CVE, fixed version
  root/              the host: etc/os-release, etc/debian_version, var/lib/dpkg/status
  osv.zip            the facts for `palisade check --feed`: one OSV record per CVE
  debsecan/bookworm  the facts for `debsecan --source file://OUT/debsecan --suite bookworm`
  oval.xml           the facts for `oscap oval eval`: one definition per fact
  oval.tsv           which fact each definition is, and which binary packages it asks for

The facts and the host come from the reference data where they are given, else from a seed: then the names and
versions are invented, and the sizes are those of the reference data.
"""

import argparse
import collections
import datetime
import json
import pathlib
import random
import subprocess
import zipfile
import zlib
from xml.sax.saxutils import escape

# Sizes of a synthetic set, like those of the reference data: facts, the sources that they are about, packages of a
# machine that does some work and the sources those are built from, and the facts that hit them.
SYNTHETIC_FACTS = 11_000
SYNTHETIC_SOURCES = 320
SYNTHETIC_PACKAGES = 764
SYNTHETIC_INSTALLED_SOURCES = 420
SYNTHETIC_AFFECTED = 190

# Suites of Debian 12 and of what came before it. An entry of another suite (trixie-security) may stand in the
# changelog of a package that was brought back to bookworm, but its version was never in this release.
OLDER_SUITES = {
    "unstable", "sid", "experimental", "testing", "stable", "oldstable", "frozen",
    "bookworm", "bullseye", "buster", "stretch", "jessie", "wheezy", "squeeze", "lenny", "etch", "sarge", "woody",
}

Fact = collections.namedtuple("Fact", "source cve fixed")
Package = collections.namedtuple("Package", "name version source source_version arch")


def reference_facts(directory):
    """The facts that bookworm's changelogs state: a CVE is fixed by the newest entry that names it."""
    entries = collections.defaultdict(list)
    for line in zstd_lines(directory / "debian-archive/bookworm/changelog-entries.jsonl.zst"):
        entry = json.loads(line)
        entries[entry["source"]].append(entry)
    facts = {}
    for source, history in entries.items():
        here = None
        for entry in sorted(history, key=lambda entry: entry["pos"]):
            words = entry["dist"].split() or [""]
            if words[0].split("-")[0] in OLDER_SUITES:
                # 1.2-3~deb12u1 is 1.2-3 rebuilt for bookworm, and sorts before it: the rebuild is the fix here.
                if here is None or not here.startswith(entry["version"] + "~"):
                    here = entry["version"]
            if here is not None:
                for cve in entry["cves"]:
                    facts.setdefault((source, cve), Fact(source, cve, here))
    return sorted(facts.values())


def reference_host(directory):
    """The packages of a real container before its upgrade."""
    packages = []
    for line in (directory / "hosts-apt-oracle/real-container.dpkg-query.tsv").read_text().splitlines():
        name, version, source, source_version, arch, status = line.split("\t")[:6]
        if status.strip() == "ii":
            packages.append(Package(name, version, source, source_version, arch))
    return sorted(set(packages))


def zstd_lines(path):
    """Lines of a zstd-compressed file; Python 3.11's library has no zstd."""
    return subprocess.run(["zstdcat", "--long=27", path], check=True, capture_output=True).stdout.decode().splitlines()


def synthetic(seed):
    """Facts and packages of the same sizes and the same version shapes, from a seed."""
    chance = random.Random(seed)
    # The n-th source has a share of 1/n of the facts: a few have most of them, as chromium has.
    shares = sum(1 / number for number in range(1, SYNTHETIC_SOURCES + 1))
    facts = {}
    bases = {}
    for number in range(1, SYNTHETIC_SOURCES + SYNTHETIC_INSTALLED_SOURCES):
        source = f"source-{number:03}"
        epoch = chance.choice(["", "", "", "", "1:", "2:"])
        upstream = f"{chance.randint(0, 12)}.{chance.randint(0, 30)}" + chance.choice(["", "", ".7", "~rc2", "+dfsg"])
        bases[source] = f"{epoch}{upstream}-{chance.randint(1, 9)}"
        if number <= SYNTHETIC_SOURCES:
            for _ in range(max(1, round(SYNTHETIC_FACTS / number / shares))):
                cve = f"CVE-{chance.randint(2016, 2026)}-{chance.randint(1000, 59999)}"
                facts[source, cve] = Fact(source, cve, f"{bases[source]}+deb12u{chance.randint(1, 5)}")
    per_source = collections.Counter(source for source, _ in facts)

    # The gravest sources are browsers, which this host does not have. Some of its packages were never updated, and
    # every fact hits those; the others are newer than every fix.
    installed = chance.sample(sorted(bases)[20:], SYNTHETIC_INSTALLED_SOURCES)
    versions = {}
    affected = 0
    for source in installed:
        behind = affected + per_source[source] <= SYNTHETIC_AFFECTED
        versions[source] = bases[source] + ("" if behind else "+deb12u7")
        affected += per_source[source] if behind else 0
    packages = [Package(source, versions[source], source, versions[source], "amd64") for source in installed]
    for number in range(len(packages), SYNTHETIC_PACKAGES):
        source = chance.choice(installed)
        name, version, arch = f"lib{source}-{number}", versions[source], "amd64"
        shape = chance.randint(0, 99)
        if shape < 15:
            version += "+b1"  # rebuilt for this architecture
        elif shape == 15:
            # Some binary packages count by themselves: gcc 4:12.2.0-3 is built from gcc-defaults 1.203.
            name, version, arch = f"meta-{source}-{number}", f"{chance.choice(['', '9:'])}0.{number}", "all"
        packages.append(Package(name, version, source, versions[source], arch))
    return sorted(facts.values()), sorted(packages)


def write_host(packages, root):
    """A Debian 12 root directory that has these packages installed."""
    for directory in ("etc", "var/lib/dpkg", "var/lib/apt/lists", "proc"):
        (root / directory).mkdir(parents=True)
    (root / "etc/debian_version").write_text("12.11\n")
    (root / "etc/os-release").write_text(
        'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\nVERSION_ID="12"\n'
        'VERSION="12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian\n'
    )
    stanzas = []
    for number, package in enumerate(packages):
        source = package.source
        if package.source_version != package.version:
            source += f" ({package.source_version})"
        stanza = [
            f"Package: {package.name}",
            "Status: install ok installed",
            "Priority: optional",
            "Section: misc",
            f"Installed-Size: {100 + number}",
            "Maintainer: Nobody <nobody@example.invalid>",
            f"Architecture: {package.arch}",
            "Multi-Arch: same" if package.arch == "amd64" else "Multi-Arch: foreign",
        ]
        if source != package.name:
            stanza.append(f"Source: {source}")
        stanza.append(f"Version: {package.version}")
        # A stanza of a real status file has some 1,000 bytes, most of them in fields that no matcher needs.
        others = (packages[(number * step + step) % len(packages)] for step in (7, 31, 101))
        stanza.append("Depends: " + ", ".join(f"{other.name} (>= 0~)" for other in others))
        stanza.append("Description: a package of the benchmark's host")
        stanza += [f" Line {line} of a description that is as long as those of real packages are." for line in range(8)]
        stanzas.append("\n".join(stanza) + "\n\n")
    (root / "var/lib/dpkg/status").write_text("".join(stanzas))


def write_osv(facts, path):
    """One record per CVE, as the public export of Debian's facts has them."""
    # Today's: a feed that nobody has touched for weeks is suspect, and would be told as such.
    today = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT00:00:00Z")
    by_cve = collections.defaultdict(list)
    for fact in facts:
        by_cve[fact.cve].append(fact)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for cve, its in sorted(by_cve.items()):
            record = {
                "schema_version": "1.7.3",
                "id": f"DEBIAN-{cve}",
                "modified": today,
                "published": today,
                "upstream": [cve],
                "details": f"{cve}, as stated by the changelogs of Debian 12.",
                "affected": [
                    {
                        "package": {
                            "ecosystem": "Debian:12",
                            "name": fact.source,
                            "purl": f"pkg:deb/debian/{fact.source}?arch=source",
                        },
                        "ranges": [
                            {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": fact.fixed}]},
                        ],
                        "ecosystem_specific": {"urgency": "not yet assigned"},
                    }
                    for fact in its
                ],
            }
            entry = zipfile.ZipInfo(f"DEBIAN-{cve}.json", (2026, 11, 1, 0, 0, 0))
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, json.dumps(record, separators=(",", ":")))


def write_debsecan(facts, packages, path):
    """debsecan's format: a list of names, one line per fact that points into it, and the binaries of each source."""
    names = sorted({fact.cve for fact in facts})
    index = {cve: number for number, cve in enumerate(names)}
    lines = ["VERSION 1"]
    lines += [f"{cve},,as stated by the changelogs of Debian 12" for cve in names]
    lines.append("")
    # The flags: S(ource), urgency unknown, remote unknown, F(ix available); after the version no other fixed ones.
    lines += [f"{fact.source},{index[fact.cve]},S ?F,{fact.fixed}," for fact in facts]
    lines.append("")
    binaries = binaries_of(packages)
    lines += [f"{source},{' '.join(binaries.get(source, []))}" for source in sorted({fact.source for fact in facts})]
    lines.append("")
    path.parent.mkdir()
    path.write_bytes(zlib.compress("\n".join(lines).encode() + b"\n"))


def write_oval(facts, packages, path):
    """One definition per fact, in the shape of those that Debian publishes: this release, any architecture, and some
    binary package of the source, as installed here, is earlier than the fix.

    Sources that are not installed are asked for by their own name, once, which costs oscap least.
    """
    binaries = binaries_of(packages)
    asked = {fact.source: binaries.get(fact.source, [fact.source]) for fact in facts}
    names = sorted({name for names in asked.values() for name in names})
    # The first test, object and state are the release's, the second the architecture's.
    objects = {name: number for number, name in enumerate(names, 3)}
    states = {fixed: number for number, fixed in enumerate(sorted({fact.fixed for fact in facts}), 3)}
    tests = {}
    definitions = []
    for number, fact in enumerate(facts, 1):
        criteria = []
        for name in asked[fact.source]:
            test = tests.setdefault((objects[name], states[fact.fixed]), len(tests) + 3)
            criteria.append(f'<criterion test_ref="oval:bench:tst:{test}"/>')
        definitions.append(
            f'<definition class="vulnerability" id="oval:bench:def:{number}" version="1"><metadata>'
            f"<title>{fact.cve} {escape(fact.source)}</title><affected family=\"unix\"/>"
            f'<reference ref_id="{fact.cve}" source="CVE"/><description/></metadata>'
            '<criteria operator="AND"><criterion test_ref="oval:bench:tst:1"/><criteria operator="OR">'
            '<criteria operator="AND"><criterion test_ref="oval:bench:tst:2"/>'
            f'<criteria operator="OR">{"".join(criteria)}</criteria>'
            "</criteria></criteria></criteria></definition>"
        )
    linux, independent, unix = (
        f'xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5#{family}"'
        for family in ("linux", "independent", "unix")
    )
    parts = [
        '<?xml version="1.0" encoding="utf-8"?>',
        '<oval_definitions xmlns="http://oval.mitre.org/XMLSchema/oval-definitions-5"'
        ' xmlns:oval="http://oval.mitre.org/XMLSchema/oval-common-5">',
        "<generator><oval:schema_version>5.11.1</oval:schema_version>"
        "<oval:timestamp>2026-11-01T00:00:00</oval:timestamp></generator>",
        "<definitions>",
        *definitions,
        "</definitions><tests>",
        f'<textfilecontent54_test {independent} check="all" check_existence="at_least_one_exists" comment="Debian 12"'
        ' id="oval:bench:tst:1" version="1"><object object_ref="oval:bench:obj:1"/><state state_ref="oval:bench:ste:1"/>'
        "</textfilecontent54_test>",
        f'<uname_test {unix} check="all" check_existence="at_least_one_exists" comment="all architecture"'
        ' id="oval:bench:tst:2" version="1"><object object_ref="oval:bench:obj:2"/></uname_test>',
        *(
            f'<dpkginfo_test {linux} check="all" check_existence="at_least_one_exists" comment="earlier than the fix"'
            f' id="oval:bench:tst:{test}" version="1"><object object_ref="oval:bench:obj:{one}"/>'
            f'<state state_ref="oval:bench:ste:{state}"/></dpkginfo_test>'
            for (one, state), test in tests.items()
        ),
        "</tests><objects>",
        f'<textfilecontent54_object {independent} id="oval:bench:obj:1" version="1">'
        f"<filepath>{escape(str(path.parent.resolve() / 'root/etc/debian_version'))}</filepath>"
        '<pattern operation="pattern match">(\\d+)\\.\\d</pattern><instance datatype="int">1</instance>'
        "</textfilecontent54_object>",
        f'<uname_object {unix} id="oval:bench:obj:2" version="1"/>',
        *(
            f'<dpkginfo_object {linux} id="oval:bench:obj:{one}" version="1"><name>{escape(name)}</name></dpkginfo_object>'
            for name, one in objects.items()
        ),
        "</objects><states>",
        f'<textfilecontent54_state {independent} id="oval:bench:ste:1" version="1">'
        "<subexpression>12</subexpression></textfilecontent54_state>",
        *(
            f'<dpkginfo_state {linux} id="oval:bench:ste:{state}" version="1">'
            f'<evr datatype="debian_evr_string" operation="less than">{escape(with_epoch(fixed))}</evr></dpkginfo_state>'
            for fixed, state in states.items()
        ),
        "</states></oval_definitions>",
    ]
    path.write_text("\n".join(parts) + "\n")
    path.with_suffix(".tsv").write_text(
        "".join(
            f"oval:bench:def:{number}\t{fact.source}\t{fact.cve}\t{' '.join(asked[fact.source])}\n"
            for number, fact in enumerate(facts, 1)
        )
    )


def with_epoch(version):
    """OVAL writes the epoch out."""
    return version if ":" in version else f"0:{version}"


def binaries_of(packages):
    """The installed binary packages of each source."""
    binaries = collections.defaultdict(list)
    for package in packages:
        if package.name not in binaries[package.source]:
            binaries[package.source].append(package.name)
    return dict(binaries)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path, metavar="OUT", help="an empty directory")
    origin = parser.add_mutually_exclusive_group(required=True)
    origin.add_argument("--reference", type=pathlib.Path, metavar="DIR", help="the bulletins of the reference data")
    origin.add_argument("--seed", type=int, help="invent facts and host from this seed")
    options = parser.parse_args()

    if options.reference:
        facts, packages = reference_facts(options.reference), reference_host(options.reference)
    else:
        facts, packages = synthetic(options.seed)
    (options.out / "facts.tsv").write_text("".join("\t".join(fact) + "\n" for fact in facts))
    write_host(packages, options.out / "root")
    write_osv(facts, options.out / "osv.zip")
    write_debsecan(facts, packages, options.out / "debsecan/bookworm")
    write_oval(facts, packages, options.out / "oval.xml")
    print(f"{len(facts)} facts on {len({fact.source for fact in facts})} sources; {len(packages)} packages installed")


if __name__ == "__main__":
    main()
