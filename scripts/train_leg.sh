#!/usr/bin/env bash
# One leg of a long training run, on a machine that is lent for a while:
#
#   scripts/train_leg.sh PIECES SECONDS [arguments of trm pretrain]
#
# Goes on exactly where the last leg ended (bit-identical to a run in one piece on the same kind of machine), stops by
# itself after SECONDS of training, and leaves the state in PIECES: files of at most 15 MB with their checksums. The
# first leg finds no PIECES and starts a run with the arguments; later ones take them from the state. A leg that fails
# leaves the old pieces as they were. TRM names the program (build/trm). The run itself lies in PIECES.run.
set -euo pipefail
[ $# -ge 2 ] || { echo "usage: train_leg.sh PIECES SECONDS [arguments of trm pretrain]" >&2; exit 2; }
pieces=${1%/} seconds=$2
shift 2
trm=${TRM:-$(cd "$(dirname "$0")/.." && pwd)/build/trm}
run=$pieces.run

if [ -e "$pieces/SHA256SUMS" ]; then
  (cd "$pieces" && sha256sum --check --quiet SHA256SUMS)
  rm -rf "$run"
  mkdir "$run"
  cat "$pieces"/state.tar.* | tar xf - -C "$run"
  "$trm" pretrain resume="$run" max_seconds="$seconds"
else
  "$trm" pretrain "$@" +checkpoint_path="$run" max_seconds="$seconds"
fi

# The newest state and its weights; a run that was kept in one piece has older ones beside them.
state=$(cd "$run" && ls state_*.npz | sort -t_ -k2n | tail -1)
rm -rf "$pieces.new"
mkdir "$pieces.new"
tar cf - -C "$run" all_config.yaml metrics.jsonl "$state" "step_${state#state_}" |
  split -b 15000000 -d -a 3 - "$pieces.new/state.tar."
(cd "$pieces.new" && sha256sum state.tar.* >SHA256SUMS)
rm -rf "$pieces.old"
[ ! -e "$pieces" ] || mv "$pieces" "$pieces.old"
mv "$pieces.new" "$pieces"
rm -rf "$pieces.old"
echo "$pieces: $state in $(ls "$pieces" | grep -c state.tar) pieces, $(du -sm "$pieces" | cut -f1) MB"
