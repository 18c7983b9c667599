# shellcheck shell=bash
# Sourced by stories after centre.sh, in which hosts have the program as a package: its own units and scripts, from an archive
# of the story's own, so that the agent can be planned, installed and taken back like any other package.

OWN=$CENTRE/own                        # the archive, at http://hub:81

# own_package VERSION [SCRIPT] — a .deb of the program into the archive. With SCRIPT, shell code that runs in the place of
# "palisade agent run"; everything else of that version is as it should be.
own_package() {
  local version=$1 tree arch dist=$BED_SOURCE/../dist file
  arch=$(dpkg --print-architecture)
  mkdir -p "$OWN/pool"
  tree=$(mktemp -d "$CENTRE/package.XXXXXX")
  chmod 755 "$tree"
  mkdir -p "$tree/DEBIAN" "$tree/usr/bin" "$tree/usr/share/doc/palisade"
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
  printf 'palisade (%s) stable; urgency=medium\n\n  * A version.\n\n -- Test bed <bed@invalid>  Mon, 01 Jan 2024 00:00:00 +0000\n' "$version" |
    gzip -9n > "$tree/usr/share/doc/palisade/changelog.Debian.gz"
  install -m 755 "$dist"/deb/* "$tree/DEBIAN/"
  printf '%s\n' "Package: palisade" "Version: $version" "Architecture: $arch" "Maintainer: Test bed <bed@invalid>" \
    "Section: admin" "Priority: optional" "Description: Palisade, for the test bed" > "$tree/DEBIAN/control"
  dpkg-deb -Zgzip -z1 --root-owner-group --build "$tree" "$OWN/pool/palisade_${version}_$arch.deb" >/dev/null
  rm -rf "$tree"
}

# own_archive — signs the archive as it is now, serves it, and has hosts read it.
own_archive() {
  local dists=$OWN/dists/stable arch
  arch=$(dpkg --print-architecture)
  mkdir -p "$dists/main/binary-$arch"
  (cd "$OWN" && apt-ftparchive packages pool) > "$dists/main/binary-$arch/Packages"
  rm -f "$dists/Release" "$dists/InRelease"
  apt-ftparchive -o APT::FTPArchive::Release::Origin=Palisade -o APT::FTPArchive::Release::Suite=stable \
    -o APT::FTPArchive::Release::Codename=stable -o APT::FTPArchive::Release::Architectures="$arch" \
    -o APT::FTPArchive::Release::Components=main release "$dists" > "$OWN/Release.new"
  mv "$OWN/Release.new" "$dists/Release"
  gpg --homedir "$BED_CACHE/keys" --batch --yes --digest-algo SHA256 --clearsign -o "$dists/InRelease" "$dists/Release"
  if [ ! -e "$OWN/served" ]; then
    : > "$OWN/served"
    fleet hub setsid python3 -m http.server --bind "$BED_HUB" --directory "$OWN" 81 </dev/null >/dev/null 2>&1 &
    printf 'deb [signed-by=/etc/apt/keyrings/bed.gpg] http://hub:81 stable main\n' > "$CENTRE/own.list"
    fleet push all "$CENTRE/own.list" /etc/apt/sources.list.d/palisade.list
    within 20 "the archive of the program is there" fleet exec h01 apt-get -qq -o APT::Update::Error-Mode=any update
  fi
  fleet exec all apt-get -qq -o APT::Update::Error-Mode=any update
}

# In the place of centre.sh's: as a package, with what it brings and does.
install_agent() {
  [ -e "$OWN/pool" ] || own_package 9.0-1
  fleet push "$1" "$(echo "$OWN"/pool/palisade_9.0-1_*.deb)" /root/palisade.deb
  on "$1" dpkg -i /root/palisade.deb >/dev/null
}
