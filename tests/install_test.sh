#!/usr/bin/env bash
# What a user gets: the installed tree moved elsewhere, a program built against it, the .tar.gz and
# the .deb; run with an empty environment, and as root in a root directory that holds nothing else.
# Usage: install_test.sh BUILD SOURCE
set -euo pipefail
build=$(cd "$1" && pwd)
source=$(cd "$2" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
checkpoint=$source/tests/fixtures/checkpoint/tiny_trm/step_10
puzzle=1....4...14...2.
say() { echo "install: $*"; }
fail() { echo "install: FAILED: $*" >&2; exit 1; }

# Runs a tree's trm with nothing from outside.
solves() {
  local answer
  env -i "$1/bin/trm" --version | grep -q '^MLX ' || fail "$1: --version"
  env -i "$1/bin/trm" --version | grep -qi 'BLAS: OpenBLAS' || fail "$1: OpenBLAS is not in use"
  answer=$(env -i "$1/bin/trm" solve --checkpoint "$checkpoint" --steps 2 "$puzzle" 2>/dev/null)
  [ ${#answer} = ${#puzzle} ] || fail "$1: answered '$answer'"
}

cmake --install "$build" --prefix "$work/first" >/dev/null
mv "$work/first" "$work/tree"
solves "$work/tree"
say "the installed tree solves where it was moved to"
outside=$(env -i LD_TRACE_LOADED_OBJECTS=1 /lib64/ld-linux-x86-64.so.2 "$work/tree/bin/trm" 2>/dev/null |
  sed -n 's/.*=> \(\/[^ ]*\).*/\1/p' | grep -v "^$work/tree/" |
  grep -vE '/lib(c|m|dl|rt|pthread|resolv)\.so' || true)
[ -z "$outside" ] || fail "needs libraries from outside: $outside"
say "it needs nothing of the system but the C library"
for file in share/man/man1/trm.1 share/bash-completion/completions/trm share/zsh/site-functions/_trm; do
  [ -s "$work/tree/$file" ] || fail "$file is missing"
done
bash -n "$work/tree/share/bash-completion/completions/trm"

CMAKE_PREFIX_PATH="$work/tree" cmake -S "$source/tests/consumer" -B "$work/consumer" \
  -DCMAKE_BUILD_TYPE=Release >"$work/log" 2>&1 || { cat "$work/log"; fail "find_package(trm)"; }
cmake --build "$work/consumer" >"$work/log" 2>&1 || { cat "$work/log"; fail "building the consumer"; }
"$work/consumer/consumer" "$checkpoint" | grep -q 'consumer: 16 cells' || fail "the consumer's answer"
say "find_package(trm) serves a project of its own"

(cd "$build" && cpack -G TGZ -B "$work/packages" >"$work/log" 2>&1) || { cat "$work/log"; fail "cpack -G TGZ"; }
mkdir "$work/unpacked"
tar -xzf "$work"/packages/trm-*.tar.gz -C "$work/unpacked" --strip-components=1
solves "$work/unpacked"
say "the .tar.gz ($(du -h "$work"/packages/trm-*.tar.gz | cut -f1)) solves with an empty environment"

if [ "$(id -u)" = 0 ] && [ "$(uname -m)" = x86_64 ] && chroot / /bin/true 2>/dev/null; then
  root=$work/root
  mkdir -p "$root/lib64" "$root/lib" "$root/tmp"
  mv "$work/unpacked" "$root/trm"
  cp "$checkpoint" "$(dirname "$checkpoint")/all_config.yaml" "$root/tmp/"
  libc=$(ldd /bin/true | sed -n 's/.*libc\.so\.6 => \([^ ]*\).*/\1/p')
  cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
  for library in c m dl rt pthread resolv; do
    cp -L "$(dirname "$libc")"/lib$library.so.[0-9]* "$root/lib64/"
  done
  # Without /proc the loader has to be told where the program lies.
  answer=$(env -i LD_LIBRARY_PATH=/lib64 LD_ORIGIN_PATH=/trm/bin "$(command -v chroot)" "$root" /trm/bin/trm solve \
    --checkpoint /tmp/step_10 --steps 2 "$puzzle" 2>"$work/log") || { cat "$work/log"; fail "chroot"; }
  [ ${#answer} = ${#puzzle} ] || fail "in an empty root directory it answered '$answer'"
  say "it solves in a root directory without Python, compiler or shell"
else
  say "skipped: an empty root directory needs root"
fi

if command -v dpkg-deb >/dev/null && command -v dpkg-shlibdeps >/dev/null; then
  (cd "$build" && cpack -G DEB -B "$work/packages" >"$work/log" 2>&1) || { cat "$work/log"; fail "cpack -G DEB"; }
  dpkg-deb -x "$work"/packages/trm_*.deb "$work/deb"
  solves "$work/deb/usr"
  depends=$(dpkg-deb -f "$work"/packages/trm_*.deb Depends)
  echo "$depends" | grep -q libopenblas || fail "the .deb depends on: $depends"
  ! echo "$depends" | grep -q python || fail "the .deb depends on: $depends"
  say "the .deb ($(du -h "$work"/packages/trm_*.deb | cut -f1)) solves; it depends on $depends"
else
  say "skipped: the .deb needs dpkg-dev"
fi
