#!/usr/bin/env bash
# The packages on a machine that has nothing but Debian 12's base system: unpacks the .tar.gz, then installs the .deb,
# solves a puzzle and serves the page with an empty environment, removes it and looks for what stayed.
# Needs root, debootstrap and the network. Not part of `make test`.
# Usage: try_packages.sh TRM.tar.gz TRM.deb [ROOT]   (ROOT: a bare system to use again; made where it is missing)
set -euo pipefail
tgz=$(realpath "$1") deb=$(realpath "$2") root=${3:-}
puzzle=7..29........64..2.4.....5....7.1.........4813.....9...8..2..7...75..1.64.9......
solution=761295843593864712842173659924781365675932481318456927186329574237548196459617238
say() { echo "packages: $*"; }
fail() { echo "packages: FAILED: $*" >&2; exit 1; }

[ -n "$root" ] || root=$(mktemp -d)/debian
[ -e "$root/bin/sh" ] || debootstrap --variant=minbase bookworm "$root" http://deb.debian.org/debian >/dev/null
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
trap 'umount "$root/proc" "$root/dev"' EXIT
within() {
  chroot "$root" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin DEBIAN_FRONTEND=noninteractive \
    http_proxy="${http_proxy:-}" https_proxy="${https_proxy:-}" "$@"
}
files() { within find /usr /etc /opt -xdev | sort; }
solves() {
  chroot "$root" env -i "$1" --version | grep -qi 'BLAS: OpenBLAS' || fail "$1 --version"
  [ "$(chroot "$root" env -i "$1" solve --line $puzzle)" = $solution ] || fail "$1 did not solve the puzzle"
}

for tool in python3 gcc g++ cc clang cmake make; do
  ! within sh -c "command -v $tool" || fail "$root has $tool: not a bare system"
done
mkdir -p "$root/srv/trm"
tar -xzf "$tgz" -C "$root/srv/trm" --strip-components=1
solves /srv/trm/bin/trm
rm -rf "$root/srv/trm"
say "the .tar.gz solves a hard puzzle with an empty environment, no compiler, no Python"

within apt-get update -qq
cp "$deb" "$root/tmp/trm.deb"
files >"$root/tmp/before"
within apt-get install -y -qq --no-install-recommends /tmp/trm.deb >/dev/null 2>&1 || fail "apt-get install"
solves /usr/bin/trm
say "the .deb is installed with $(within dpkg -L trm | wc -l) files and solves it too"
chroot "$root" env -i /usr/bin/trm serve --port 0 >"$root/tmp/served" &
server=$!
for _ in $(seq 100); do grep -q Serving "$root/tmp/served" && break || sleep 0.1; done
url=$(grep -o 'http://[^ ]*' "$root/tmp/served") || fail "trm serve did not start"
curl -sf "${url}healthz" | grep -q ok || fail "trm serve does not answer"
kill $server && wait $server
say "trm serve answers"
within dpkg -r trm >/dev/null
files >"$root/tmp/after"
left=$(comm -13 "$root/tmp/before" "$root/tmp/after" | grep -i trm || true)
[ -z "$left" ] || fail "dpkg -r left $left"
within apt-get autoremove -y -qq --purge >/dev/null 2>&1
say "dpkg -r left nothing"
