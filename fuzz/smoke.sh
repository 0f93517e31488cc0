#!/usr/bin/env bash
# Runs every fuzz target for TRM_FUZZ_SECONDS (60 unless set), as many at a time as there are processors. A finding
# ends it with exit code 1 and leaves the input in build/fuzz. Without clang it says so and does nothing.
set -euo pipefail
cd "$(dirname "$0")/.."
export seconds=${TRM_FUZZ_SECONDS:-60}
clang=${CLANGXX:-$(command -v clang++ || command -v clang++-14 || true)}
if [ -z "$clang" ] || ! echo 'extern "C" int LLVMFuzzerTestOneInput(const unsigned char*, unsigned long) { return 0; }' |
  "$clang" -x c++ - -fsanitize=fuzzer,address -o /dev/null 2>/dev/null; then
  echo "fuzz: skipped, no clang++ with libFuzzer here (apt install clang)"
  exit 0
fi
fuzz/build.sh
run_target() {
  local target=$1 log=build/fuzz/$1.log
  mkdir -p "build/fuzz/found/$target"
  if ! "build/fuzz/$target" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1500 -max_len=40000 \
    -artifact_prefix="build/fuzz/$target-" "build/fuzz/found/$target" "build/fuzz/corpus/$target" >"$log" 2>&1; then
    tail -40 "$log"
    echo "fuzz: $target found something (see above; the input lies in build/fuzz)"
    return 255 # xargs stops
  fi
  echo "fuzz: $target: $(grep -o 'Done [0-9]* runs in [0-9]* second' "$log")s, nothing found"
}
export -f run_target
printf '%s\n' pickle zip legacy tar safetensors npy convert data_npy data_json data_csv serve_request |
  xargs -P "$(nproc)" -I{} bash -euo pipefail -c 'run_target {}'
