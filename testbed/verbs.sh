# shellcheck shell=bash
# Sourced by fleet after hosts.sh: commands on hosts, cables, power, figures. Runs inside the hub's namespaces.

on_exec() {
  local name=$1 number
  shift
  [ $# -gt 0 ] || die "exec: the command is missing"
  if [ "$name" = all ]; then
    local result=0
    for name in $(names); do
      [ -z "$(process_of "$name")" ] || on_exec "$name" "$@" || result=$?
    done
    return "$result"
  fi
  home_of "$name" >/dev/null
  number=$(process_of "$name")
  [ -n "$number" ] || die "$name is off (fleet boot $name)"
  (
    join "$name/bed"
    exec nsenter --target "$number" --mount --uts --ipc --net --pid --cgroup --time --root --wd -- \
      env -i HOME=/root TERM=dumb DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8 PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
      setpriv --bounding-set="$BED_WITHOUT" -- "$@"
  )
}
# Replaced at once, as an upgrade does it: a program that runs keeps its old file.
push_to() {
  # shellcheck disable=SC2016,SC2094 # for the host's shell; stat only looks
  on_exec "$1" sh -c 'mkdir -p "$(dirname "$1")" && cat > "$1.new" && chmod "$2" "$1.new" && mv "$1.new" "$1"' \
    push "$3" "$(stat -c %a "$2")" < "$2"
}
on_push() { each push_to "$1" "$2" "${3:-$2}"; }
on_hub() { cd "${BED_WORK:-/}" && "$@"; }

cable() { sed -n 's/.* number=\([0-9]*\)$/cable-\1/p' "$(home_of "$1")/host"; }
# The link stays up at both ends: packets vanish, as behind a dead switch.
cut_one() { ip link set "$(cable "$1")" nomaster; }
heal_one() { ip link set "$(cable "$1")" master switch; }
on_cut() { each cut_one "$1"; }
on_heal() { each heal_one "$1"; }
freeze_one() { echo "$2" > "$BED_CGROUP/$1/cgroup.freeze"; }
on_freeze() { each freeze_one "$1" 1; }
on_thaw() { each freeze_one "$1" 0; }
kill_one() {
  local number
  number=$(process_of "$1")
  [ -n "$number" ] || return 0
  kill -KILL "$number"
  while [ -e "$BED_FLEET/hosts/$1/pid" ]; do sleep 0.05; done
}
on_kill() { each kill_one "$1"; }
boot_one() { start "$1" && wait_up "$1"; }
on_boot() { each boot_one "$1"; }

on_ip() { sed -n "s/.* number=\([0-9]*\)$/$BED_NET.\1/p" "$(home_of "$1")/host"; }
on_list() {
  local name
  for name in $(names); do
    printf '%-12s %-14s %s\n' "$name" "$(on_ip "$name")" "$([ -n "$(process_of "$name")" ] && echo up || echo off)"
  done
}
stat_one() {
  local processes number memory=0 cpu
  processes=$(find "$BED_CGROUP/$1" -name cgroup.procs -exec cat {} +)
  for number in $processes; do
    memory=$((memory + $(awk '$1 == "Pss:" { print $2 }' "/proc/$number/smaps_rollup" 2>/dev/null || echo 0)))
  done
  cpu=$(awk '$1 == "usage_usec" { printf "%.2f", $2 / 1e6 }' "$BED_CGROUP/$1/cpu.stat")
  printf '%s cpu_seconds=%s memory_kib=%d processes=%d disk_kib=%d\n' "$1" "$cpu" "$memory" \
    "$(wc -w <<< "$processes")" "$(du -sk "$BED_FLEET/hosts/$1" | cut -f 1)"
}
on_stat() { each stat_one "$1"; }
