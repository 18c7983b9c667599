# Asks the dnf of this host, through its own library, what one change would do. Takes a question as JSON in the file that
# the first argument names, and prints an answer as JSON. Works on the scratch root that the question names, and nowhere else.
import json
import sys

import dnf
import dnf.conf
import dnf.rpm
import hawkey


def told(package):
    """A package as the plan will have it; a digest of another kind than SHA-256 is none."""
    kind, value = package.chksum or (None, None)
    is_sha256 = kind is not None and hawkey.chksum_name(kind) == "sha256"
    return {
        "name": package.name,
        "arch": package.arch,
        "epoch": package.epoch,
        "version": package.version,
        "release": package.release,
        "source": package.sourcerpm or "",
        "repository": package.reponame,
        "sha256": value.hex() if is_sha256 else None,
        "size_bytes": package.downloadsize,
    }


def chosen(base, wanted):
    """The package that is meant: of exactly this version, or the latest that upgrades what is installed."""
    query = base.sack.query().available().filterm(name=wanted["name"], arch=wanted["arch"])
    if wanted["version"] is None:
        return query.upgrades().latest().run()
    return [package for package in query.run() if package.evr == wanted["version"]]


def answer(question):
    conf = dnf.conf.Conf()
    root = question["root"]
    conf.config_file_path = question["config"]
    conf.read(question["config"])
    # After the file: nothing in it moves us out of the scratch root, or runs a plugin.
    conf.installroot = root
    conf.cachedir = root + "/var/cache/dnf"
    conf.persistdir = root + "/var/lib/dnf"
    conf.logdir = root + "/log"
    conf.reposdir = [root + "/etc/yum.repos.d"]
    conf.plugins = False
    conf.install_weak_deps = False
    conf.best = True
    # Kernels that an upgrade would let go for a new one: hands that install keep them.
    conf.installonly_limit = 0
    conf.cacheonly = not question["refresh"]
    conf.skip_if_unavailable = False
    conf.substitutions.update_from_etc(root)
    conf.releasever = dnf.rpm.detect_releasever(root)
    base = dnf.Base(conf)
    base.read_all_repos()
    for repository in base.repos.iter_enabled():
        repository.skip_if_unavailable = False
        if question["refresh"]:
            repository.metadata_expire = 0
        else:
            repository.metadata_expire = -1
    base.fill_sack(load_system_repo=True, load_available_repos=True)
    for wanted in question["wanted"]:
        is_there = base.sack.query().installed().filterm(name=wanted["name"], arch=wanted["arch"])
        for package in chosen(base, wanted):
            if is_there:
                base.package_upgrade(package)
            else:
                base.package_install(package)
    old = []
    for kept in question["old"]:
        old.extend(told(package) for package in chosen(base, kept)[:1])
    base.resolve(allow_erasing=False)
    transaction = base.transaction
    return {
        "installs": [told(package) for package in transaction.install_set],
        "removes": [told(package) for package in transaction.remove_set],
        "old": old,
    }


with open(sys.argv[1], encoding="utf-8") as file:
    asked = json.load(file)
try:
    found = answer(asked)
except (dnf.exceptions.Error, OSError, RuntimeError) as problem:
    found = {"error": str(problem)}
json.dump(found, sys.stdout)
