# shellcheck shell=bash
# Sourced after centre.sh by stories in which something stands in the way of bed-lamp 1.0-2 on a host: bed-fence, which is in no archive.
# fenced_rpm HOST — installs it there, as its owner would.
fenced_rpm() {
  if [ ! -e "$CENTRE/noarch/bed-fence-1-1.noarch.rpm" ]; then
    printf '%s\n' 'Name: bed-fence' 'Version: 1' 'Release: 1' 'Summary: It stands in the way' 'License: MIT' 'BuildArch: noarch' \
      'Conflicts: bed-lamp = 1.0-2' '%define _binary_payload w1.gzdio' '%description' 'It stands.' '%files' > "$CENTRE/fence.spec"
    rpmbuild --quiet --define "_topdir $CENTRE/fence" --define "_rpmdir $CENTRE" -bb "$CENTRE/fence.spec" >/dev/null 2>&1
  fi
  fleet push "$1" "$CENTRE/noarch/bed-fence-1-1.noarch.rpm" /root/fence.rpm
  on "$1" rpm -i --nodeps --nosignature /root/fence.rpm
}
# fenced_arch HOST LINE… — the same with pacman: it has these lines of its description besides.
fenced_arch() {
  mkdir -p "$CENTRE/fence"
  printf '%s\n' 'pkgname = bed-fence' 'pkgbase = bed-fence' 'pkgver = 1-1' 'pkgdesc = It stands in the way' 'url = http://hub' \
    'builddate = 1700000000' 'packager = Its owner <owner@invalid>' 'size = 1' 'arch = any' "${@:2}" > "$CENTRE/fence/.PKGINFO"
  (cd "$CENTRE/fence" && tar --owner=0 --group=0 --numeric-owner -cf - .PKGINFO | zstd -q -1 -f -o "$CENTRE/fence.pkg.tar.zst")
  fleet push "$1" "$CENTRE/fence.pkg.tar.zst" /root/fence.pkg.tar.zst
  on "$1" pacman -U --noconfirm /root/fence.pkg.tar.zst >/dev/null
}
# fenced_alpine HOST — the same with apk, which without a word leaves what a package stands in the way of.
fenced_alpine() {
  mkdir -p "$CENTRE/fence"
  printf '%s\n' 'pkgname = bed-fence' 'pkgver = 1-r1' 'pkgdesc = It stands in the way' 'url = http://hub' 'builddate = 1700000000' \
    "arch = $(uname -m)" 'depend = bed-lamp=1.0-r1' > "$CENTRE/fence/.PKGINFO"
  fleet push "$1" "$("$BED_SOURCE/apk-package" pack "$CENTRE/fence" "$BED_CACHE/keys/bed.rsa" "$CENTRE")" /root/fence.apk
  on "$1" apk add --quiet /root/fence.apk
}
# stands_in_the_way HOST [WORDS] — what was seen there names it.
stands_in_the_way() { evidence_of "$1" | jq -e --arg words "${2:-bed-fence}" 'any(.why[]?; contains($words))' >/dev/null; }
