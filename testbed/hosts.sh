# shellcheck shell=bash
# Sourced by fleet: what is done to hosts. Runs inside the hub's namespaces, except for the two about inotify.

# Capabilities that root on a host does not have: they would reach the machine.
BED_WITHOUT=-sys_time,-wake_alarm,-sys_module,-sys_rawio,-mknod,-syslog,-mac_admin,-mac_override,-perfmon,-bpf
BED_CGROUP=$(cgroups)/palisade-$BED_NAME

# Each host's systemd and services take some five inotify instances of root's; the kernel's default of 128 ends at some
# twenty hosts, of all fleets together. Raised only for larger fleets, or where others have taken half, and put back.
INOTIFY=/proc/sys/fs/inotify/max_user_instances
inotify_raise() {
  [ "$1" -gt 15 ] || [ "$(inotify_used)" -gt 60 ] || return 0
  [ "$(cat "$INOTIFY")" -lt 4096 ] || return 0
  cat "$INOTIFY" > "$BED_FLEET/inotify"
  echo 4096 > "$INOTIFY"
}
inotify_used() { { find /proc/[0-9]*/fd -lname anon_inode:inotify 2>/dev/null || true; } | wc -l; }
inotify_restore() {
  if [ -s "$BED_FLEET/inotify" ]; then cat "$BED_FLEET/inotify" > "$INOTIFY"; fi
}

home_of() {
  [ -e "$BED_FLEET/hosts/$1/host" ] || die "there is no host \"$1\" (fleet list)"
  printf '%s\n' "$BED_FLEET/hosts/$1"
}
names() {
  local home
  for home in "$BED_FLEET"/hosts/*/host; do
    [ ! -e "$home" ] || basename "$(dirname "$home")"
  done
}
# Number of a host's first process here in the hub; empty if it is off.
process_of() {
  local number
  number=$(cat "$BED_FLEET/hosts/$1/pid" 2>/dev/null) || return 0
  if kill -0 "$number" 2>/dev/null; then printf '%s\n' "$number"; fi
}
# each COMMAND HOST… — COMMAND for that host, or for all.
each() {
  local command=$1 host=$2 one
  shift 2
  if [ "$host" = all ]; then
    for one in $(names); do "$command" "$one" "$@"; done
  else
    home_of "$host" >/dev/null
    "$command" "$host" "$@"
  fi
}

# make NAME BASE — its address and cable, and where its disk is to be; nothing runs yet.
make() {
  local name=$1 base=$2 home=$BED_FLEET/hosts/$1 number
  [[ $name =~ ^[a-z][a-z0-9-]{0,10}$ ]] || die "\"$name\" is no name for a host: letters, digits, -, at most 11"
  mkdir -p "$home"
  exec 9>"$BED_FLEET/numbers"
  flock 9
  number=$(($(cat "$BED_FLEET/number" 2>/dev/null || echo 10) + 1))
  [ "$number" -lt 255 ] || die "the bed has no address left"
  echo "$number" > "$BED_FLEET/number"
  exec 9>&-
  ip netns add "$name"
  ip -n "$name" link set lo up
  ip link add "cable-$number" type veth peer name eth0 netns "$name"
  ip link set "cable-$number" master switch up
  ip -n "$name" address add "$BED_NET.$number/24" dev eth0
  ip -n "$name" link set eth0 up
  if [ -n "${DISK:-}" ]; then
    truncate --size "$DISK" "$home/disk.ext4"
    mke2fs -q -t ext4 -m 0 "$home/disk.ext4"
  fi
  printf 'name=%q base=%q disk=%q number=%q\n' "$name" "$base" "${DISK:-}" "$number" > "$home/host"
}

# What makes it somebody: written once, like an installer does; a clone gets only its name.
identify() {
  local name=$1 root=$2 suite
  suite=$(suite)
  mkdir -p "$root/etc"
  tr -d - < /proc/sys/kernel/random/uuid > "$root/etc/machine-id"
  rename "$name" "$root"
  case $(sed -n 's/.*base=[^ ]*base-\([a-z]*\).*/\1/p' "$BED_FLEET/hosts/$name/host") in
    deb)
      mkdir -p "$root/etc/apt/keyrings"
      cp "$BED_ARCHIVE/bed.gpg" "$root/etc/apt/keyrings/bed.gpg"
      printf "deb [signed-by=/etc/apt/keyrings/bed.gpg] http://hub/debian %s main\n" "$suite" "$suite-security" \
        > "$root/etc/apt/sources.list"
      ;;
    rpm)
      mkdir -p "$root/etc/yum.repos.d" "$root/etc/pki/rpm-gpg"
      cp "$BED_ARCHIVE/rpm/bed.asc" "$root/etc/pki/rpm-gpg/bed.asc"
      printf '%s\n' '[bed]' name=bed baseurl=http://hub/rpm gpgcheck=1 repo_gpgcheck=1 \
        gpgkey=file:///etc/pki/rpm-gpg/bed.asc > "$root/etc/yum.repos.d/bed.repo"
      ;;
    suse)
      mkdir -p "$root/etc/zypp/repos.d" "$root/etc/pki/rpm-gpg"
      cp "$BED_ARCHIVE/rpm/bed.asc" "$root/etc/pki/rpm-gpg/bed.asc"
      printf '%s\n' '[bed]' name=bed enabled=1 autorefresh=1 baseurl=http://hub/rpm type=rpm-md gpgcheck=1 repo_gpgcheck=1 \
        gpgkey=file:///etc/pki/rpm-gpg/bed.asc > "$root/etc/zypp/repos.d/bed.repo"
      ;;
    arch)
      printf '%s\n' '[options]' 'Architecture = auto' 'SigLevel = Optional TrustAll' 'CheckSpace' '[bed]' 'Server = http://hub/arch' \
        > "$root/etc/pacman.conf"
      ;;
    alpine)
      mkdir -p "$root/etc/apk/keys"
      cp "$BED_ARCHIVE/apk/bed.rsa.pub" "$root/etc/apk/keys/bed.rsa.pub"
      echo http://hub/apk > "$root/etc/apk/repositories"
      ;;
  esac
}
rename() {
  printf '%s\n' "$1" > "$2/etc/hostname"
  printf '%s\n' '127.0.0.1 localhost' "127.0.1.1 $1" "$BED_HUB hub" > "$2/etc/hosts"
}
# with_disk HOST COMMAND… — runs COMMAND with the path of its upper layer; the host must be off.
with_disk() {
  local home=$BED_FLEET/hosts/$1 store
  shift
  store=$home/store
  if [ -e "$home/disk.ext4" ]; then
    store=$home/small
    mkdir -p "$store"
    mount -o loop "$home/disk.ext4" "$store"
  fi
  mkdir -p "$store/upper" "$store/work"
  "$@" "$store/upper"
  if [ -e "$home/disk.ext4" ]; then umount "$store"; fi
}

start() {
  local home
  home=$(home_of "$1")
  [ -z "$(process_of "$1")" ] || return 0
  rm -f "$home/pid"
  setsid "$BED_SOURCE/fleet" _attend "$1" </dev/null >>"$home/console" 2>&1 8>&- 9>&- &
}
# join HOST CGROUP — this process goes into the host's cgroup, so that what it uses is the host's.
join() {
  mkdir -p "$BED_CGROUP/$1"
  echo "$BASHPID" > "$BED_CGROUP/$1/cgroup.procs"
}
# Keeps a host on: reboot(2) in a pid namespace ends its first process with SIGHUP, power-off with SIGINT.
on__attend() {
  local name=$1 home result
  home=$(home_of "$name")
  while :; do
    result=0
    (
      join "$name"
      exec nsenter --net="/run/netns/$name" -- unshare --mount --propagation private --pid --uts --ipc --cgroup \
        --time --boottime "-$(cut -d . -f 1 /proc/uptime)" --fork --kill-child=KILL \
        "$BED_SOURCE/power-on" "$home" "$BED_WITHOUT"
    ) || result=$?
    rm -f "$home/pid"
    say "$name ended with $result"
    [ "$result" = 129 ] || break
  done
}
wait_up() {
  local name=$1 state=""
  local end=$((SECONDS + 120))          # one host takes two seconds, a busy machine with many of them its time
  while [ "$SECONDS" -lt "$end" ]; do
    if [ -n "$(process_of "$name")" ]; then
      state=$(on_exec "$name" systemctl is-system-running 2>/dev/null) || true
      case $state in
        running) return ;;
        degraded) say "$name is up, but: $(on_exec "$name" systemctl --failed --plain --no-legend)"; return ;;
      esac
    fi
    sleep 0.1
  done
  die "$name did not come up (state \"$state\"): $(tail -n 3 "$BED_FLEET/hosts/$name/console")"
}

on__make() {
  local base=$1 name
  shift
  for name in "$@"; do
    if [ ! -e "$BED_FLEET/hosts/$name/host" ]; then
      make "$name" "$base"
      with_disk "$name" identify "$name"
    fi
    start "$name"
  done
  for name in "$@"; do wait_up "$name"; done
}

on__clone() {
  local from=$1 name=$2 base disk was_on
  # shellcheck source=/dev/null
  . "$(home_of "$from")/host"
  was_on=$(process_of "$from")
  [ -z "$was_on" ] || [ -z "$disk" ] || die "clone: $from has a small disk: switch it off first (fleet kill $from)"
  [ ! -e "$BED_FLEET/hosts/$2/host" ] || die "clone: there is a host \"$2\""
  name=$2
  DISK='' make "$name" "$base"
  # Stopped while it is copied: the copy is what a power failure would have left.
  [ -z "$was_on" ] || on_freeze "$from"
  if [ -n "$disk" ]; then
    cp --sparse=always "$BED_FLEET/hosts/$from/disk.ext4" "$BED_FLEET/hosts/$name/disk.ext4"
    sed -i "s/ disk=[^ ]*/ disk=$disk/" "$BED_FLEET/hosts/$name/host"
  else
    mkdir -p "$BED_FLEET/hosts/$name/store"
    cp -a "$BED_FLEET/hosts/$from/store/upper" "$BED_FLEET/hosts/$name/store/upper"
  fi
  [ -z "$was_on" ] || on_thaw "$from"
  with_disk "$name" rename "$name"
  start "$name"
  wait_up "$name"
}
