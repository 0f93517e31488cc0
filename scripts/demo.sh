#!/usr/bin/env bash
# The main job from nothing: make a data set, train on it, check the result on held-out puzzles,
# convert a PyTorch checkpoint, solve puzzles. Everything it writes is under build/demo.
set -euo pipefail
cd "$(dirname "$0")/.."
trm=$PWD/build/trm
fixture=$PWD/tests/fixtures/checkpoint/tiny_trm/step_10
rm -rf build/demo
mkdir -p build/demo
cd build/demo
say() { printf "\n== %s\n" "$*"; }

say "1. Generate 4x4 Sudoku: 4000 puzzles to train on, 500 held out"
"$trm" dataset sudoku --size 4 --generate 4000 --test-size 500 --seed 1 --output-dir data/sudoku-4x4

say "2. Train a small TRM on them (config/sudoku_4x4.yaml)"
start=$SECONDS
"$trm" pretrain --config sudoku_4x4 project_name=demo run_name=sudoku_4x4
run=checkpoints/demo/sudoku_4x4
checkpoint=$(ls -t "$run"/step_*.npz | head -1)
echo "Trained in $((SECONDS - start)) s"

say "3. Evaluate the checkpoint on the held-out puzzles"
"$trm" eval "$checkpoint" --data data/sudoku-4x4 --json eval.json
python3 - <<'PY'
import json
exact = json.load(open("eval.json"))["exact_accuracy"]
print(f"Exact on held-out puzzles: {100 * exact:.1f} %")
if exact < 0.95:
    raise SystemExit("demo: expected at least 95 %")
PY

say "4. Convert a PyTorch checkpoint and verify it"
"$trm" convert "$fixture" tiny_trm.npz --verify

say "5. Solve a puzzle with the model just trained"
"$trm" solve --checkpoint "$checkpoint" --grid 1....4...14...2.
say "6. Solve one of the hardest 9x9 puzzles with the weights that come with trm"
"$trm" solve --grid 7.....8....2..5....3..6..9..7.6....1...1.3.7.....7.9.....4.2....9..3..1..2..1643. | tee hard.txt
grep -q "^solved" hard.txt || { echo "demo: the puzzle was not solved"; exit 1; }
say "Done. The model is build/demo/$checkpoint"
