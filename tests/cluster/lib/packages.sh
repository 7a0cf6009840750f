# shellcheck shell=bash
# Debian packages: some are installed, some only unpacked into the cache.

APT_UPDATED=

apt_() { DEBIAN_FRONTEND=noninteractive apt-get -q -o Dpkg::Use-Pty=0 "$@"; }

# Runs an apt-get command; when it fails, refreshes the lists once and tries again.
apt_retry() {
  local log=$CACHE/apt.log
  apt_ "$@" >"$log" 2>&1 && return 0
  if [[ -z $APT_UPDATED ]]; then
    note "refreshing the package lists"
    apt_ update >"$log" 2>&1 || true
    APT_UPDATED=1
    apt_ "$@" >"$log" 2>&1 && return 0
  fi
  tail -n 15 "$log" >&2
  return 1
}

install_packages() {
  local missing=() pair
  for pair in runc:runc iptables:iptables nft:nftables conntrack:conntrack ip:iproute2 \
    openssl:openssl nsenter:util-linux flock:util-linux; do
    command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
  done
  [[ -x /usr/lib/cni/ptp && -x /usr/lib/cni/host-local ]] || missing+=(containernetworking-plugins)
  ((${#missing[@]})) || return 0
  command -v apt-get >/dev/null || die "these Debian packages are missing: ${missing[*]}" \
    "This machine has no apt-get: install what they hold by hand, then run 'up' again."
  note "installing Debian packages: ${missing[*]}"
  apt_retry install -y --no-install-recommends "${missing[@]}" ||
    die "apt-get could not install ${missing[*]}" "Install them by hand, then run 'up' again."
}

# Prints the path of a file of a Debian package, unpacked into the cache. The
# package is not installed, so none of its services starts.
debian_file() { # PACKAGE PATH
  local folder=$CACHE/debian/$1 work
  if [[ ! -e $folder/$2 ]]; then
    note "unpacking Debian package $1"
    work=$(mktemp -d "$CACHE/debian.XXXXXX")
    (cd "$work" && apt_retry download "$1" && dpkg -x ./*.deb root) ||
      { rm -rf "$work"; die "could not download Debian package $1"; }
    mkdir -p "$CACHE/debian"
    rm -rf "$folder"
    mv "$work/root" "$folder"
    rm -rf "$work"
  fi
  say "$folder/$2"
}

# Prints the folder into which a Debian package is unpacked. The libraries that its programs need are installed, except the
# large one for compiling queries, which PostgreSQL does without.
debian_folder() { # PACKAGE
  local library missing=()
  debian_file "$1" usr >/dev/null
  while read -r library; do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$library" 2>/dev/null) == installed ]] || missing+=("$library")
  done < <(apt-cache depends "$1" | sed -n 's/^ *|\?Depends: \(lib[^ ]*\)$/\1/p' | grep -v '^libllvm')
  if ((${#missing[@]})); then
    note "installing Debian packages: ${missing[*]}"
    apt_retry install -y --no-install-recommends "${missing[@]}" >&2 || die "apt-get could not install ${missing[*]}"
  fi
  say "$CACHE/debian/$1"
}
