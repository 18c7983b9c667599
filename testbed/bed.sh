# shellcheck shell=bash
# Sourced by the bed's commands: where things are, what is needed, how it is said when something is missing.
# shellcheck disable=SC2034 # each command uses its part of these
set -euo pipefail
shopt -s inherit_errexit
export LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive

# An environment that cannot carry a bed is no failure of what is tested.
EXIT_SKIP=77

BED_SOURCE=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
# Bases and the archive are kept from run to run; a fleet lives from `up` to `down`. Several fleets can live side by side
# under different names.
BED_CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/palisade/testbed
BED_NAME=${BED_NAME:-bed}
BED_FLEET=$BED_CACHE/fleet-$BED_NAME
# Nobody outside the bed's namespaces sees these addresses.
BED_NET=10.86.0
BED_HUB=$BED_NET.1
BED_ARCHIVE=$BED_CACHE/archive

say()  { printf '%(%T)T %s\n' -1 "$*" >&2; }
die()  { printf 'testbed: %s\n' "$*" >&2; exit 1; }
skip() { printf 'testbed: SKIPPED: %s\n' "$*" >&2; exit "$EXIT_SKIP"; }

# need COMMAND=PACKAGE… — skips, naming the packages, where a command is missing.
need() {
  local pair missing=()
  for pair in "$@"; do
    command -v "${pair%%=*}" >/dev/null || missing+=("${pair#*=}")
  done
  [ ${#missing[@]} = 0 ] || skip "needs ${missing[*]} (apt-get install ${missing[*]})"
}

# able — skips where no fleet can be made: no root's rights, no namespaces, no overlay, no unified cgroups.
able() {
  [ "$(id -u)" = 0 ] || skip "needs root's rights: hosts are made of namespaces and mounts"
  need ip=iproute2 nsenter=util-linux setpriv=util-linux mke2fs=e2fsprogs python3=python3 flock=util-linux
  [ -n "$(cgroups)" ] || skip "needs a mounted cgroup2 hierarchy"
  unshare --mount --pid --net --uts --ipc --cgroup --time --fork true 2>/dev/null ||
    skip "needs namespaces (mount, pid, net, uts, ipc, cgroup, time); a container usually forbids them"
  local try
  mkdir -p "$BED_CACHE"
  try=$(mktemp -d "$BED_CACHE/try.XXXXXX")
  mkdir "$try/lower" "$try/upper" "$try/work" "$try/root"
  local result=0
  unshare --mount --propagation private mount -t overlay try \
    -o "lowerdir=$try/lower,upperdir=$try/upper,workdir=$try/work" "$try/root" 2>/dev/null || result=$?
  rm -rf "$try"
  [ "$result" = 0 ] || skip "needs overlay mounts on $BED_CACHE (set XDG_CACHE_HOME to a directory on ext4 or xfs)"
}

# cgroups — where the unified hierarchy is mounted; empty if nowhere.
cgroups() { findmnt -rnt cgroup2 -o TARGET | head -n 1; }

# suite — Debian's code name of this machine: hosts are of the same release, so that what is built here runs there.
suite() { (. /etc/os-release && printf '%s\n' "${BED_SUITE:-${VERSION_CODENAME:-}}"); }

# mirror CODENAME — base address of that suite, from this machine's own apt configuration; empty if it has none.
mirror() {
  # shellcheck disable=SC2016 # apt's own placeholders
  apt-get indextargets --format '$(CODENAME) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' |
    awk -v suite="$1" '$1 == suite && $2 == "main" { sub("/$", "", $3); address = $3 } END { print address }'
}
