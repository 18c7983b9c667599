# shellcheck shell=bash
# Sourced by stories about the centre: every call of the server, the agent and the command line is here, and only here.
. "$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/claims.sh"
# shellcheck source=../scripts/setup.sh
. "$BED_SOURCE/../scripts/setup.sh"

CENTRE=$BED_FLEET/centre               # settings, log and, unless a story says otherwise, data
CENTRE_DATA=$CENTRE/data
CENTRE_ACCESS=$CENTRE_DATA/access.toml # what the server leaves at its first start for the one who started it
AGENT_DIRECTORY=/var/lib/palisade-agent
AGENT_UNIT=palisade-agent.service

# The program: what PALISADE names, else built here; without its symbols, as a host gets it. Hosts have the same, or what
# PALISADE_HOST names.
program() {
  need jq=jq sqlite3=sqlite3 strip=binutils curl=curl
  local built=${PALISADE:-$CARGO_TARGET_DIR/debug/palisade}
  if [ -z "${PALISADE:-}" ]; then
    need_rust
    (cd "$BED_SOURCE/.." && cargo build --quiet --bin palisade)
  fi
  mkdir -p "$CENTRE"
  strip -o "$CENTRE/palisade" "$built" 2>/dev/null || cp "$built" "$CENTRE/palisade"
  [ -z "${PALISADE_HOST:-}" ] || cp "$PALISADE_HOST" "$CENTRE/palisade-host"
}

# The bed's bulletins: two holes of bed-lamp. The archive's changelogs name the same CVEs.
bulletins() {
  local ecosystem now
  ecosystem=Debian:$(. /etc/os-release && echo "$VERSION_ID")
  now=$(date -u +%FT%TZ)
  jq -n --arg ecosystem "$ecosystem" --arg now "$now" '
    def record($id; $cve; $fixed): { schema_version: "1.6.0", id: $id, aliases: [$cve], published: $now, modified: $now,
      summary: "bed-lamp shines where it should not",
      affected: [{ package: { ecosystem: $ecosystem, name: "bed-lamp" },
                   ranges: [{ type: "ECOSYSTEM", events: [{ introduced: "0" }, { fixed: $fixed }] }] }] };
    [record("BED-2001-1"; "CVE-2001-9002"; "1.0-2"), record("BED-2001-2"; "CVE-2001-9003"; "1.0-3")]'
}

# centre_up HOSTS — a server at the hub's address, and so many hosts that are part of its fleet.
centre_up() {
  fleet up "$1"
  program
  mkdir -p "$CENTRE_DATA"
  bulletins > "$CENTRE/bulletins.json"
  cat > "$CENTRE/server.toml" <<TOML
[server]
data = "$CENTRE_DATA"
api = "$BED_HUB:8470"
agents = "$BED_HUB:8471"
metrics = "$BED_HUB:8472"
names = ["hub", "$BED_HUB"]
[agents]
check_in_seconds = 2
silent_minutes = ${SILENT_MINUTES:-1}
[[feed]]
name = "bed"
location = "$CENTRE/bulletins.json"
every_minutes = 1
TOML
  server_start
  [ -z "${TRUST_FIRST:-}" ] || trust_founded
  fleet exec all apt-get -qq update
  local host
  for host in $(hosts_of_bed); do join_fleet "$host"; done
  for host in $(hosts_of_bed); do within 240 "$host has told what it has" has_version "$host" 1.0-1; done
}
hosts_of_bed() { fleet list | awk '{ print $1 }'; }

server_start() {
  # shellcheck disable=SC2016 # for the shell in the hub
  fleet hub setsid sh -c 'echo $$ > "$1/server.pid"; exec "$1/palisade" server --config "$1/server.toml" >> "$1/server.log" 2>&1' \
    sh "$CENTRE" </dev/null >/dev/null 2>&1 &
  within 60 "the server answers" cli host list
}
server_kill() {
  fleet hub kill -KILL "$(cat "$CENTRE/server.pid")"
  while server_runs 2>/dev/null; do sleep 0.05; done
}
server_runs() { fleet hub kill -0 "$(cat "$CENTRE/server.pid")"; }
server_said() { grep -Eiq "$1" "$CENTRE/server.log"; }

# What an approver remembers of a fleet lies with the fleet here.
cli() { fleet hub env PALISADE_ACCESS="$CENTRE_ACCESS" XDG_CONFIG_HOME="$CENTRE/config" "$CENTRE/palisade" "$@"; }
doctor() { fleet hub "$CENTRE/palisade" doctor --config "$CENTRE/server.toml"; }
audit_export() { cli audit export; }
audit_verify() { "$CENTRE/palisade" audit verify "$1"; }
# The line that is to be run on a host that joins.
enrol_line() { cli token enroll --group "$1" --line; }

install_agent() {
  local program=$CENTRE/palisade-host
  [ -e "$program" ] || program=$CENTRE/palisade
  fleet push "$1" "$program" /usr/bin/palisade
  fleet push "$1" "$BED_SOURCE/../dist/$AGENT_UNIT" "/usr/lib/systemd/system/$AGENT_UNIT"
  local file
  for file in palisade-hand.socket palisade-hand@.service; do
    fleet push "$1" "$BED_SOURCE/../dist/$file" "/usr/lib/systemd/system/$file"
  done
  for file in "$BED_SOURCE"/../dist/*sysusers*; do
    [ ! -e "$file" ] || fleet push "$1" "$file" /usr/lib/sysusers.d/palisade-agent.conf
  done
  on "$1" systemd-sysusers
}
join_fleet() {
  install_agent "$1"
  on "$1" sh -c "$(enrol_line "${2:-bed}")" >/dev/null
  on "$1" systemctl -q enable --now "$AGENT_UNIT"
}
agent_runs() { is active on "$1" systemctl is-active "$AGENT_UNIT"; }
agent_restarts() { on "$1" systemctl show -P NRestarts "$AGENT_UNIT"; }

# What the centre says of one host.
host_field() { cli host list --json | jq -r --arg name "$1" --arg field "$2" '.[] | select(.name == $name) | .[$field]'; }
hosts_known() { cli host list --json | jq length; }
active_hosts() { cli host list --json | jq -r '.[] | select(.state == "active") | .name' | sort | paste -sd ' '; }
silent_hosts() { cli host list --select state=silent --json | jq -r '.[].name'; }
history_of() { cli host history "$1" --json; }
has_told() { [ "$(history_of "$1" | jq length)" -gt 0 ]; }
# What it had of bed-lamp, now or at a time.
version_of() {
  local at=()
  [ -z "${2:-}" ] || at=(--at "${@:2}")
  cli host inventory "$1" "${at[@]}" --json | jq -r '.inventory.packages[] | select(.name == "bed-lamp") | .version'
}
has_version() { is "$2" version_of "$1"; }
# Open findings: advisory, package and verdict, sorted; of bed-lamp alone with a second argument.
findings_of() {
  cli finding list --host "$1" --most 10000 --json |
    jq -r --arg package "${2:-}" '.[] | select($package == "" or (.package | endswith(":" + $package))) | [.advisory, .package, .verdict] | @tsv' | sort
}
# Advisories that are open for bed-lamp on a host, by id, on one line.
lamp_advisories() { findings_of "$1" bed-lamp | cut -f 1 | grep '^BED-' | sort -u | paste -sd ' ' || true; }
lamp_open() { is "$2" lamp_advisories "$1"; }

now() { date -u +%FT%T.%6NZ; }
# Puts a version of bed-lamp on a host, without its network.
put_lamp() {
  local file
  file=$(find "$BED_ARCHIVE/debian/pool" -name "bed-lamp_${2}_*.deb")
  fleet push "$1" "$file" "/root/lamp.deb"
  on "$1" dpkg --force-downgrade -i /root/lamp.deb >/dev/null 2>&1
}

store() { sqlite3 -readonly "$CENTRE_DATA/palisade.db" "$1"; }
# Nothing lost, nothing doubled: what must be so whatever has happened.
sound() {
  claim "the doctor finds nothing" doctor
  audit_export > "$CENTRE/audit.jsonl"
  claim "the audit log's chain is whole" audit_verify "$CENTRE/audit.jsonl"
  same "no history has a hole or an overlap" "" "$(store "
    SELECT host, from_at FROM (SELECT host, from_at, until_at, LEAD(from_at) OVER (PARTITION BY host ORDER BY from_at) AS next
    FROM inventories) WHERE next IS NOT NULL AND (until_at IS NULL OR until_at <> next)")"
  same "no finding is there twice" "" "$(store "
    SELECT one.host, one.advisory, one.package FROM findings one JOIN findings other
    ON one.host = other.host AND one.advisory = other.advisory AND one.package = other.package AND one.verdict = other.verdict
    AND one.from_at < other.from_at AND (one.until_at IS NULL OR one.until_at > other.from_at)")"
  same "the database is whole" ok "$(store 'PRAGMA integrity_check')"
}

# Hands that pretend, on these hosts.
hands_dry() {
  local host
  printf '[agent]\nhand = "dry"\n' > "$CENTRE/agent.toml"
  for host in "$@"; do
    fleet push "$host" "$CENTRE/agent.toml" /etc/palisade/agent.toml
    on "$host" systemctl restart "$AGENT_UNIT"
  done
}
# Hands that install, on these hosts.
hands_apt() { hands_of apt "$@"; }
# hands_of KIND HOST… — the same with another package manager.
hands_of() {
  printf '[agent]\nhand = "%s"\n' "$1" > "$CENTRE/agent.toml"
  hands_set "${@:2}"
}
# hands_set HOST… — what their owner allows is what lies at the centre, and the half that installs is there.
hands_set() {
  local host
  for host in "$@"; do
    fleet push "$host" "$CENTRE/agent.toml" /etc/palisade/agent.toml
    on "$host" systemctl -q enable --now palisade-hand.socket
    on "$host" systemctl restart "$AGENT_UNIT"
  done
}
# What was seen of a host's last job that is over.
evidence_of() { on "$1" sh -c 'cat "$(ls -t /var/lib/palisade-agent/evidence/*.json | head -n 1)"'; }
# How a dry hand is to fail.
dry_faults() {
  printf '%s' "$2" > "$CENTRE/faults.json"
  fleet push "$1" "$CENTRE/faults.json" "$AGENT_DIRECTORY/dry-faults.json"
}
# Two approvers, ada and bob; eve is a stranger.
trust_founded() {
  local name
  for name in ada bob eve; do cli key new "$CENTRE/$name.key" --no-passphrase --name "$name" >/dev/null; done
  cli key found --owners 1 --approvers 2 --owner "$CENTRE/ada.key.pub" --approver "$CENTRE/ada.key.pub" \
    --approver "$CENTRE/bob.key.pub" >/dev/null || true
  cli key sign --key "$CENTRE/ada.key" --yes >/dev/null || true
  claim "the trust is founded" cli key sign --key "$CENTRE/bob.key" --yes
}
# What approvers compare, and owners of hosts that joined before the founding type.
fingerprint() { cli key list --json | jq -r .fingerprint; }
# plan_made OPTIONS… — makes a plan; prints its id.
plan_made() {
  cli rollout plan "$@" > "$CENTRE/plan.txt" 2>&1 || fails "make a plan: $(cat "$CENTRE/plan.txt")"
  cli plan list --json | jq -r 'sort_by(.created_at) | last | .id'
}
# plan_asked JSON — makes a plan with terms that no command has, and waits until hosts have rehearsed it; prints its id. A story
# whose change is large gives them more REHEARSAL_SECONDS.
plan_asked() {
  local token id
  token=$(sed -n 's/^token = "\(.*\)"/\1/p' "$CENTRE_ACCESS")
  sed -n '/BEGIN/,/END/p' "$CENTRE_ACCESS" > "$CENTRE/authority.pem"
  id=$(fleet hub curl -fsS --cacert "$CENTRE/authority.pem" -H "Authorization: Bearer $token" -H 'Content-Type: application/json' \
    -d "$1" "https://$BED_HUB:8470/api/v1/plans" | jq -r .id)
  within "${REHEARSAL_SECONDS:-120}" "hosts have rehearsed it" is_not rehearsing plan_state "$id"
  printf '%s\n' "$id"
}
plan_state() { plan_json "$1" | jq -r .state; }
plan_json() { cli plan show "$1" --json; }
rollout_state() { cli rollout status "$1" --json | jq -r .state; }
rollout_is() { is "$2" rollout_state "$1"; }
# Hosts of a rollout and where each stands, a line each.
jobs_of() { cli rollout hosts "$1" --json | jq -r '.[] | "\(.host.name) \(.state)"' | sort; }
all_of() { jobs_of "$1" | paste -sd ' '; }
rest_of() { jobs_of "$1" | grep -v '^h01 ' | paste -sd ' '; }
state_of() { jobs_of "$1" | sed -n "s/^$2 //p"; }

tell_failure() {
  printf -- '-- the server said last:\n'
  tail -n 25 "$CENTRE/server.log"
  local host
  for host in $(hosts_of_bed); do
    printf -- '-- the agent of %s said last:\n' "$host"
    on "$host" journalctl -q --no-pager -n 12 -u "$AGENT_UNIT" || true
    on "$host" journalctl -q --no-pager -n 12 -u 'palisade-hand@*' -u palisade-deed.service || true
  done
}
