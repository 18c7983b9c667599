# shellcheck shell=bash
# Sourced after centre.sh by stories in which the bed's own packages are really installed: what is a hole of which, plans for
# them, and what a host has of them.
# Packages whose 1.0-2 closes a hole; a story may name others.
ODD=${ODD:-bed-wick bed-oil bed-tank}
eval "$(declare -f bulletins | sed '1s/bulletins/lamp_bulletins/')"
bulletins() {
  lamp_bulletins | jq --arg now "$(date -u +%FT%TZ)" --arg names "$ODD" '
    . as $all | $all[0] as $one | $all + [($names | split(" "))[] as $name | $one
      | .id = "BED-2002-" + $name | .aliases = [] | .summary = $name + " shines where it should not" | .published = $now | .modified = $now
      | .affected[0].package.name = $name | .affected[0].ranges[0].events = [{ introduced: "0" }, { fixed: "1.0-2" }]]'
}
package() { on "$1" dpkg-query -W -f '${Version} ${db:Status-Abbrev}' "$2"; }
package_is() { is "$3" package "$1" "$2"; }
known() { findings_of "$1" "$2" | grep -q "BED-2002-$2"; }
unfinished() { [[ "$(package "$1" "$2")" != *"ii " ]]; }
# planned PACKAGE CANARIES SELECTOR [TERMS] — plans a fix, with other terms if they are given as JSON, and has it signed; prints the
# plan. CANARIES: names, with commas.
planned() {
  local plan
  plan=$(plan_asked "$(jq -n --arg fix "$1" --arg canaries "$2" --arg select "$3" --argjson terms "${4:-"{}"}" '{ fix: [$fix],
    canaries: ($canaries | split(",")), select: $select, waves: [], track: "emergency", at_once: 9, gate: { soak_seconds: 300, bad_max: 0 },
    timing: { host_soak_seconds: 10 }, reboot: "never" } * $terms')" 2>/dev/null)
  cli plan sign "$plan" --key "$CENTRE/ada.key" --yes >/dev/null || true
  cli plan sign "$plan" --key "$CENTRE/bob.key" --yes >/dev/null
  printf '%s\n' "$plan"
}
# begin PACKAGE CANARIES SELECTOR [TERMS] — the same, and begins.
begin() {
  local plan
  plan=$(planned "$@")
  cli rollout start "$plan" >/dev/null
  printf '%s\n' "$plan"
}
# at_unpacking HOST PACKAGE COMMAND… — runs a command on the host as soon as dpkg unpacks that package; dpkg stands still for it.
at_unpacking() {
  # shellcheck disable=SC2016 # for the host's shell
  on "$1" sh -c 'setsid sh -c '\''file=/usr/lib/$1/content.dpkg-new; shift; while [ ! -e "$file" ]; do :; done; pkill -STOP -x dpkg; "$@"; : > /run/stood'\'' \
    at "$@" </dev/null >/dev/null 2>&1 &' at "${@:2}"
}
stood() { on "$1" test -e /run/stood; }
# hands_with TOML HOST… — hands that install, with more settings of their owner's.
hands_with() {
  printf '[agent]\nhand = "apt"\n%s\n' "$1" > "$CENTRE/agent.toml"
  hands_set "${@:2}"
}
# script HOST PATH TEXT — puts a script on a host.
script() {
  printf '#!/bin/sh\n%s\n' "$3" > "$CENTRE/script"
  chmod 755 "$CENTRE/script"
  fleet push "$1" "$CENTRE/script" "$2"
}
