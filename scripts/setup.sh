# Sourced by the commands in the root: where builds go, and how to get what is missing.

# Outside the checkout, so that a clean checkout builds on what an earlier one compiled.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/palisade/target}"

need_rust() {
  command -v cargo >/dev/null || [ ! -e "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"
  command -v cargo >/dev/null || {
    echo "palisade: cargo is not installed; install Rust 1.94 or later (rustup.rs, or your distribution's rustup)" >&2
    exit 69
  }
}

# need_packages NAME… — installs the Debian packages that are missing, with root's rights; nothing is upgraded.
need_packages() {
  local missing=() package sudo=()
  for package in "$@"; do
    [ "$(dpkg-query -Wf '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing+=("$package")
  done
  [ ${#missing[@]} -gt 0 ] || return 0
  if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
      echo "palisade: these packages are missing, and neither root's rights nor sudo are at hand: ${missing[*]}" >&2
      exit 69
    }
    sudo=(sudo)
  fi
  echo "installing: ${missing[*]}" >&2
  local apt=("${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -y -o DPkg::Lock::Timeout=300)
  "${apt[@]}" install --no-install-recommends --no-upgrade "${missing[@]}" >/dev/null 2>&1 || {
    "${apt[@]}" update >/dev/null
    "${apt[@]}" install --no-install-recommends --no-upgrade "${missing[@]}" >/dev/null
  }
}
