# Asks the dnf of this host, through its own library, what installing some files would do; no repository is looked at. Takes
# a question as JSON in the file that the first argument names, and prints an answer as JSON. Nothing is changed.
import json
import sys

import dnf
import hawkey


def told(package):
    return {"name": package.name, "arch": package.arch, "version": package.evr}


def answer(question):
    base = dnf.Base()
    base.conf.read()
    base.conf.plugins = False
    base.conf.best = True
    base.conf.install_weak_deps = False
    # Kernels that an upgrade would let go for a new one: the plan does not say so, so they stay.
    base.conf.installonly_limit = 0
    base.fill_sack(load_system_repo=True, load_available_repos=False)
    for package in base.add_remote_rpms(question["files"]):
        if question["back"]:
            base.package_downgrade(package)
        else:
            base.package_install(package)
    base.resolve(allow_erasing=False)
    transaction = base.transaction
    return {
        "installs": [told(package) for package in transaction.install_set],
        "removes": [told(package) for package in transaction.remove_set],
    }


with open(sys.argv[1], encoding="utf-8") as file:
    asked = json.load(file)
try:
    found = answer(asked)
except (dnf.exceptions.Error, hawkey.Exception, OSError, RuntimeError) as problem:
    found = {"error": str(problem)}
json.dump(found, sys.stdout)
