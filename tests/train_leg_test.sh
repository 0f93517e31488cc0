#!/usr/bin/env bash
# scripts/train_leg.sh: legs carried in pieces give the weights of a run in one piece, bit for bit; damaged pieces are
# refused and kept.   train_leg_test.sh PROGRAM SOURCE_DIR
set -euo pipefail
export TRM=$1
source=$2 here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
cd "$here"
fail() { echo "train_leg: $*"; exit 1; }
"$TRM" dataset sudoku --size 4 --generate 60 --test-size 5 --seed 1 --output-dir data >/dev/null
run=(--config sudoku_4x4 "data_paths=[data]" global_batch_size=16 arch.hidden_size=32 epochs=8 eval_interval=8)
"$TRM" pretrain "${run[@]}" +checkpoint_path=whole >/dev/null
last=$(ls whole | grep '^step_' | sort -t_ -k2n | tail -1)

legs=0
until [ -e "legs.run/$last" ]; do
  ((++legs < 40)) || fail "not done after 40 legs"
  "$source/scripts/train_leg.sh" legs 0.1 "${run[@]}" >log 2>&1 || fail "leg $legs: $(cat log)"
  rm -r legs.run.before 2>/dev/null || true
  [ -e "legs.run/$last" ] || mv legs.run legs.run.before # only the pieces go on
done
((legs > 1)) || fail "it was done in one leg"
cmp "whole/$last" "legs.run/$last" || fail "other weights than in one piece"

printf x >>legs/state.tar.000
sum=$(cat legs/* | sha256sum)
if "$source/scripts/train_leg.sh" legs 1 >log 2>&1; then fail "damaged pieces were taken"; fi
[ "$sum" = "$(cat legs/* | sha256sum)" ] || fail "the pieces were changed by a leg that failed"
echo "train_leg: $legs legs, same weights"
