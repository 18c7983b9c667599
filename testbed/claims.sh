# shellcheck shell=bash
# Sourced by stories: a fleet of their own, and claims that can fail. A story ends at its first claim that does not hold,
# prints what the parts had to say, and takes its fleet down whatever happens.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/bed.sh"
STORY=$(basename "$0")
export BED_NAME=${BED_NAME_OF_STORY:-story-$STORY}
BED_FLEET=$BED_CACHE/fleet-$BED_NAME

fleet() { "$BED_SOURCE/fleet" "$@"; }
on() { fleet exec "$@"; }

# What else is to be told of a failure; stories add to it.
tell_failure() { :; }
story_ends() {
  local result=$?
  trap '' INT TERM
  if [ "$result" != 0 ] && [ "$result" != "$EXIT_SKIP" ]; then tell_failure >&2 || true; fi
  # KEEP=1 leaves the fleet of a failed story up, to be looked at with BED_NAME=story-NAME.
  if [ "$result" = 0 ] || [ -z "${KEEP:-}" ]; then fleet down || true; fi
  exit "$result"
}
trap story_ends EXIT
trap 'exit 130' INT TERM HUP
fleet down

fails() { printf '  NOT SO  %s\n' "$*" >&2; exit 1; }
holds() { printf '  so      %s\n' "$*" >&2; }

# claim WORDS COMMAND… — the command succeeds.
claim() {
  local words=$1 said
  shift
  if said=$("$@" 2>&1); then holds "$words"; else fails "$words: $* said: ${said:-nothing}"; fi
}
# denied WORDS COMMAND… — the command fails.
denied() {
  local words=$1 said
  shift
  if said=$("$@" 2>&1); then fails "$words: $* succeeded: ${said:-nothing}"; else holds "$words"; fi
}
# same WORDS WANTED ACTUAL
same() {
  if [ "$2" = "$3" ]; then holds "$1"; else fails "$1: wanted \"$2\", got \"$3\""; fi
}
differs() {
  if [ "$2" != "$3" ]; then holds "$1"; else fails "$1: still \"$3\""; fi
}
# within SECONDS WORDS COMMAND… — the command succeeds before so many seconds are over.
within() {
  local seconds=$1 words=$2 said="" began=$SECONDS
  shift 2
  while [ $((SECONDS - began)) -le "$seconds" ]; do
    if said=$("$@" 2>&1); then holds "$words ($((SECONDS - began)) s)"; return; fi
    sleep 0.5
  done
  fails "$words: not within $seconds s; $* said last: ${said:-nothing}"
}
# remains SECONDS WORDS COMMAND… — the command succeeds all the while.
remains() {
  local seconds=$1 words=$2 said began=$SECONDS
  shift 2
  while [ $((SECONDS - began)) -lt "$seconds" ]; do
    said=$("$@" 2>&1) || fails "$words: no more after $((SECONDS - began)) s: ${said:-nothing}"
    sleep 0.5
  done
  holds "$words (for $seconds s)"
}

# For claims: conditions in words.
is() { local actual; actual=$("${@:2}") && [ "$actual" = "$1" ] || { printf '%s' "$actual"; return 1; }; }
is_not() { ! is "$@" >/dev/null; }
no() { ! "$@"; }
