#!/usr/bin/env bash
# A long run of every fuzz target: campaign.sh SECONDS JOBS_PER_TARGET OUT [TARGET...]
# The jobs of a target share a corpus in OUT/corpus. OUT/summary.txt gets a line a job, OUT/findings the inputs that
# crashed, hung or took too much memory; a job goes on after one. Exit code 1 when there is any.
# Runs from build/fuzz or from the folder that pack.sh makes (then it is called run.sh and needs no compiler).
set -uo pipefail
seconds=$1 jobs=$2 out=$(mkdir -p "$3" && cd "$3" && pwd)
shift 3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
bin=$here/../build/fuzz
if [ -e "$here/fuzzpack.tar.xz" ]; then
  bin=$here/bin
  [ -d "$bin" ] || tar xJf "$here/fuzzpack.tar.xz" -C "$here" || python3 -m tarfile -e "$here/fuzzpack.tar.xz" "$here"
fi
seeds=$bin/corpus
targets=("$@")
[ $# -gt 0 ] || targets=(pickle zip legacy tar safetensors npy convert data_npy data_json data_csv serve_request)
mkdir -p "$out/log" "$out/findings" "$out/corpus"
# The sanitizer's shadow collides with the address randomisation of new kernels; without that it cannot.
fixed=()
setarch "$(uname -m)" -R true 2>/dev/null && fixed=(setarch "$(uname -m)" -R)

run_job() {
  local target=$1 job=$2 start=$SECONDS round=0 runs=0 cov=0 found=0 left
  left=$seconds
  while ((left > 0 && round < 50)); do
    local log=$out/log/$target-$job-$((round++)).log
    "${fixed[@]}" "$bin/$target" -max_total_time="$left" -timeout=10 -rss_limit_mb=2048 -max_len=40000 \
      -print_final_stats=1 -reload=10 -artifact_prefix="$out/findings/$target-" \
      "$out/corpus/$target" "$seeds/$target" >"$log" 2>&1
    local code=$? n
    n=$(grep -o 'number_of_executed_units: *[0-9]*' "$log" | grep -o '[0-9]*$' | tail -1)
    runs=$((runs + ${n:-0}))
    n=$(grep -o 'cov: [0-9]*' "$log" | grep -o '[0-9]*$' | tail -1)
    cov=${n:-$cov}
    if ((code != 0)) && grep -q INITED "$log"; then found=$((found + 1)); fi  # else it never started: again
    left=$((seconds - (SECONDS - start)))
    ((code == 0)) && break
  done
  echo "$target job $job: $runs executions, coverage $cov, $((SECONDS - start)) s, $found findings" >>"$out/summary.txt"
}

for target in "${targets[@]}"; do
  mkdir -p "$out/corpus/$target"
  for ((job = 0; job < jobs; job++)); do run_job "$target" "$job" & done
done
wait
sort -o "$out/summary.txt" "$out/summary.txt"
echo "done: $(find "$out/findings" -type f | wc -l) inputs in findings" | tee -a "$out/summary.txt"
[ -z "$(ls -A "$out/findings")" ]
