# shellcheck shell=bash
# Sourced by stories after centre.sh, in which hosts have the program as a package: its own units and scripts, from an archive
# of the story's own, so that the agent can be planned, installed and taken back like any other package.

OWN=$CENTRE/own                        # the archive, at http://hub:81

# own_tree DIRECTORY [SCRIPT] — what a package of the program has. With SCRIPT, shell code that runs in the place of "palisade agent run";
# everything else of that version is as it should be.
own_tree() {
  local tree=$1 dist=$BED_SOURCE/../dist file
  chmod 755 "$tree"
  mkdir -p "$tree/usr/bin"
  if [ -n "${2:-}" ]; then
    install -Dm 755 "$CENTRE/palisade" "$tree/usr/lib/palisade/palisade"
    install -m 755 /dev/stdin "$tree/usr/bin/palisade" \
      <<< $'#!/bin/sh\nif [ "$1 $2" = "agent run" ]; then\n'"$2"$'\nfi\nexec /usr/lib/palisade/palisade "$@"'
  else
    install -m 755 "$CENTRE/palisade" "$tree/usr/bin/palisade"
  fi
  for file in palisade-agent.service palisade-hand.socket palisade-hand@.service; do
    install -Dm 644 "$dist/$file" "$tree/usr/lib/systemd/system/$file"
  done
  install -Dm 644 "$dist/palisade-agent.sysusers" "$tree/usr/lib/sysusers.d/palisade-agent.conf"
}
# own_package VERSION [SCRIPT] — a .deb of the program into the archive.
own_package() {
  local version=$1 tree arch
  arch=$(dpkg --print-architecture)
  mkdir -p "$OWN/pool"
  tree=$(mktemp -d "$CENTRE/package.XXXXXX")
  own_tree "$tree" "${2:-}"
  mkdir -p "$tree/DEBIAN" "$tree/usr/share/doc/palisade"
  printf 'palisade (%s) stable; urgency=medium\n\n  * A version.\n\n -- Test bed <bed@invalid>  Mon, 01 Jan 2024 00:00:00 +0000\n' "$version" |
    gzip -9n > "$tree/usr/share/doc/palisade/changelog.Debian.gz"
  install -m 755 "$BED_SOURCE"/../dist/deb/* "$tree/DEBIAN/"
  printf '%s\n' "Package: palisade" "Version: $version" "Architecture: $arch" "Maintainer: Test bed <bed@invalid>" \
    "Section: admin" "Priority: optional" "Description: Palisade, for the test bed" > "$tree/DEBIAN/control"
  dpkg-deb -Zgzip -z1 --root-owner-group --build "$tree" "$OWN/pool/palisade_${version}_$arch.deb" >/dev/null
  rm -rf "$tree"
}
# own_rpm VERSION-RELEASE [SCRIPT] — an .rpm of the program into http://hub:81/rpm.
own_rpm() {
  local tree dist=$BED_SOURCE/../dist
  mkdir -p "$OWN/rpm"
  tree=$(mktemp -d "$CENTRE/package.XXXXXX")
  own_tree "$tree" "${2:-}"
  {
    printf '%s\n' 'Name: palisade' "Version: ${1%-*}" "Release: ${1#*-}" 'Summary: Palisade, for the test bed' 'License: MIT' 'AutoReqProv: no' \
      '%define debug_package %{nil}' '%define __os_install_post %{nil}' '%define _binary_payload w1.gzdio' '%description' 'Palisade.' '%install' \
      "cp -a $tree/. %{buildroot}/" '%post'
    cat "$dist/rpm/post"
    echo '%preun'
    cat "$dist/rpm/preun"
    echo '%files'
    (cd "$tree" && find . -type f -printf '/%P\n')
  } > "$CENTRE/own.spec"
  rpmbuild --quiet --define "_topdir $CENTRE/rpmbuild" --define "_rpmdir $OWN/rpm" --define '_build_id_links none' -bb "$CENTRE/own.spec" >&2
  rm -rf "$tree" "$CENTRE/rpmbuild"
  createrepo_c --quiet "$OWN/rpm"
}
# own_repository HOST — the host reads it, as it is now.
own_repository() {
  own_served
  printf '%s\n' '[palisade]' name=palisade baseurl=http://hub:81/rpm gpgcheck=0 > "$CENTRE/own.repo"
  fleet push "$1" "$CENTRE/own.repo" /etc/yum.repos.d/palisade.repo
  on "$1" sh -c 'dnf -q clean expire-cache && dnf -q makecache' >/dev/null
}
# own_served — serves all of it.
own_served() {
  [ ! -e "$OWN/served" ] || return 0
  : > "$OWN/served"
  fleet hub setsid "$BED_SOURCE/serve" "$BED_HUB" 81 "$OWN" </dev/null >/dev/null 2>&1 &
}

# own_archive [HOST] — signs the archive as it is now, serves it, and has that host read it, or all.
own_archive() {
  local dists=$OWN/dists/stable arch readers=${1:-all}
  arch=$(dpkg --print-architecture)
  mkdir -p "$dists/main/binary-$arch"
  (cd "$OWN" && apt-ftparchive packages pool) > "$dists/main/binary-$arch/Packages"
  rm -f "$dists/Release" "$dists/InRelease"
  apt-ftparchive -o APT::FTPArchive::Release::Origin=Palisade -o APT::FTPArchive::Release::Suite=stable \
    -o APT::FTPArchive::Release::Codename=stable -o APT::FTPArchive::Release::Architectures="$arch" \
    -o APT::FTPArchive::Release::Components=main release "$dists" > "$OWN/Release.new"
  mv "$OWN/Release.new" "$dists/Release"
  gpg --homedir "$BED_CACHE/keys" --batch --yes --digest-algo SHA256 --clearsign -o "$dists/InRelease" "$dists/Release"
  own_served
  if [ ! -e "$CENTRE/own.list" ]; then
    printf 'deb [signed-by=/etc/apt/keyrings/bed.gpg] http://hub:81 stable main\n' > "$CENTRE/own.list"
    fleet push "$readers" "$CENTRE/own.list" /etc/apt/sources.list.d/palisade.list
    within 20 "the archive of the program is there" fleet exec h01 apt-get -qq -o APT::Update::Error-Mode=any update
  fi
  fleet exec "$readers" apt-get -qq -o APT::Update::Error-Mode=any update
}

# In the place of centre.sh's: as a package, with what it brings and does.
install_agent() {
  if [[ $1 = r* ]]; then
    [ -e "$OWN/rpm" ] || own_rpm 9.0-1
    fleet push "$1" "$(echo "$OWN"/rpm/*/palisade-9.0-1.*.rpm)" /root/palisade.rpm
    on "$1" rpm -i /root/palisade.rpm
    return
  fi
  [ -e "$OWN/pool" ] || own_package 9.0-1
  fleet push "$1" "$(echo "$OWN"/pool/palisade_9.0-1_*.deb)" /root/palisade.deb
  on "$1" dpkg -i /root/palisade.deb >/dev/null
}

# Of an update of the agent: what is planned, and what is seen of it.
terms() {
  jq -n --arg canary "$1" --arg select "$2" '{ fix: ["palisade"], canaries: [$canary], select: $select, waves: [], track: "emergency",
    gate: { soak_seconds: 300, bad_max: 0 }, at_once: 3, timing: { host_soak_seconds: 10, verify_seconds: 120 }, reboot: "never" }'
}
has_candidate() { cli host inventory "$1" --json | grep -q "\"$2\""; }
proof_says() { cli host show "$1" --proof | grep -q "$2"; }
watchdog() { on "$1" test -e /etc/systemd/system/palisade-watchdog.service; }
left_over() { on "$1" sh -c 'ls -d /var/lib/palisade-hand/previous /usr/libexec/palisade-previous 2>/dev/null'; }
# begun CANARY SELECTOR — plans what is newest there, has it signed, begins; prints the plan.
begun() {
  local plan
  plan=$(plan_asked "$(terms "$1" "$2")")
  cli plan sign "$plan" --key "$CENTRE/ada.key" --yes >/dev/null || true
  cli plan sign "$plan" --key "$CENTRE/bob.key" --yes >/dev/null
  cli rollout start "$plan" >/dev/null
  printf '%s\n' "$plan"
}
