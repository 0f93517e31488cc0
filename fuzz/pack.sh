#!/usr/bin/env bash
# Packs the fuzz targets for a machine without a compiler: pack.sh [FOLDER], build/fuzzpack unless given. There:
# fuzzpack/run.sh SECONDS JOBS_PER_TARGET OUT
set -euo pipefail
cd "$(dirname "$0")/.."
pack=${1:-build/fuzzpack}
LINK="-static-libstdc++ -static-libgcc -Wl,-rpath,\$ORIGIN/lib" fuzz/build.sh
rm -rf "$pack"
mkdir -p "$pack/bin/lib"
for target in fuzz/*.cpp; do
  name=$(basename "$target" .cpp)
  strip -o "$pack/bin/$name" "build/fuzz/$name"
  ldd "build/fuzz/$name" | awk '/libfmt|libdeflate|libz/ {print $3}' | xargs -I{} cp -L {} "$pack/bin/lib"
done
cp -r build/fuzz/corpus "$pack/bin/corpus"
tar -cJf "$pack/fuzzpack.tar.xz" -C "$pack" bin
rm -r "$pack/bin"
cp fuzz/campaign.sh "$pack/run.sh"
