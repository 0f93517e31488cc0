#!/usr/bin/env bash
# Builds the fuzz targets with clang's libFuzzer, AddressSanitizer and UndefinedBehaviorSanitizer into build/fuzz,
# and their seed corpora from the test fixtures. MLX is not needed: the readers do not depend on it.
set -euo pipefail
cd "$(dirname "$0")/.."
clang=${CLANGXX:-$(command -v clang++ || command -v clang++-14)}
out=build/fuzz
mkdir -p $out/objects
flags="-std=c++20 -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -I."
launcher=$(command -v ccache || true)
sources=$(ls trm/io/*.cpp trm/checkpoint/*.cpp trm/data/*.cpp trm/serve/solve_request.cpp | grep -v -e checkpoint/checkpoint.cpp -e data/hub.cpp)
for source in $sources; do
  object=$out/objects/$(echo "${source%.cpp}" | tr / _).o
  echo "$launcher $clang $flags -fsanitize=fuzzer-no-link -c $source -o $object"
done | xargs -P "${JOBS:-$(nproc)}" -I{} sh -c '{}'
rm -f $out/readers.a
ar qc $out/readers.a $out/objects/trm_*.o
for target in fuzz/*.cpp; do
  name=$(basename "$target" .cpp)
  echo "$launcher $clang $flags -fsanitize=fuzzer -c $target -o $out/objects/fuzz_$name.o && $clang $flags -fsanitize=fuzzer $out/objects/fuzz_$name.o $out/readers.a -lfmt -ldeflate -lz ${LINK:-} -o $out/$name"
done | xargs -P "${JOBS:-$(nproc)}" -I{} sh -c '{}'
python3 fuzz/seeds.py $out/corpus
