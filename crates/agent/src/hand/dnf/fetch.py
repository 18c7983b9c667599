# Fetches files with the dnf of this host, through its own library, from the repositories that the host trusts. Takes a
# question as JSON in the file that the first argument names, and prints as JSON what could not be had. Which of the files
# count is looked at by whoever asks, by their digests.
import json
import os
import shutil
import sys

import dnf
import dnf.rpm
import hawkey


def offered(base, wanted):
    """Packages of exactly this version, whatever the configuration excludes: they are fetched, not installed."""
    query = base.sack.query(flags=hawkey.IGNORE_EXCLUDES).available()
    query = query.filterm(name=wanted["name"], arch=wanted["arch"])
    return [package for package in query.run() if package.evr == wanted["version"]]


def fetch(question):
    problems = []
    base = dnf.Base()
    conf = base.conf
    conf.read()
    conf.plugins = False
    # A dead repository must not keep the others waiting.
    conf.timeout = 10
    conf.retries = 2
    conf.substitutions.update_from_etc("/")
    conf.releasever = dnf.rpm.detect_releasever("/")
    conf.destdir = question["into"]
    base.read_all_repos()
    for repository in list(base.repos.iter_enabled()):
        repository.skip_if_unavailable = False
        if question["refresh"]:
            repository.metadata_expire = 0
        try:
            repository.load()
        except dnf.exceptions.RepoError as problem:
            problems.append("%s: %s" % (repository.id, problem))
            repository.disable()
    base.fill_sack(load_system_repo=False)
    for wanted in question["wanted"]:
        found = offered(base, wanted)
        if not found:
            problems.append("%s-%s: no repository has it" % (wanted["name"], wanted["version"]))
        for package in found:
            try:
                base.download_packages([package])
            except dnf.exceptions.DownloadError as problem:
                problems.append("%s: %s" % (package, problem))
                continue
            # What lies in a repository of files is not copied.
            path = package.localPkg()
            if os.path.dirname(path) != question["into"]:
                shutil.copy(path, question["into"])
    return {"problems": problems}


with open(sys.argv[1], encoding="utf-8") as file:
    asked = json.load(file)
try:
    result = fetch(asked)
except (dnf.exceptions.Error, hawkey.Exception, OSError, RuntimeError) as problem:
    result = {"problems": [str(problem)]}
json.dump(result, sys.stdout)
