"""Checks a generated Sudoku data set with a SAT solver that knows nothing of this project: each label keeps the givens
and the rules, and no puzzle has a second solution. Needs `pip install numpy python-sat`.

    trm dataset sudoku --generate 100000 --test-size 1000 --seed 2026 --output-dir DIR
    python3 tests/check_sudoku_unique.py DIR
"""

import math
import sys
import time
from pathlib import Path

import numpy
from pysat.solvers import Glucose4

BOXES = {4: (2, 2), 6: (2, 3), 9: (3, 3)}


def units(n):
    """Rows, columns and boxes as lists of cells."""
    rows, columns = BOXES[n]
    boxes = [[] for _ in range(n)]
    for cell in range(n * n):
        r, c = divmod(cell, n)
        boxes[r // rows * rows + c // columns].append(cell)
    return [list(range(r * n, r * n + n)) for r in range(n)] + [list(range(c, n * n, n)) for c in range(n)] + boxes


def rules(n):
    """Clauses of an empty grid; variable cell * n + d is true where the cell holds digit d (1..n)."""
    clauses = [[cell * n + d for d in range(1, n + 1)] for cell in range(n * n)]
    for unit in units(n):
        for d in range(1, n + 1):
            clauses += [[-(a * n + d), -(b * n + d)] for i, a in enumerate(unit) for b in unit[:i]]
    return clauses


def check(inputs, labels):
    n = math.isqrt(inputs.shape[1])
    clauses = rules(n)
    for index, (question, answer) in enumerate(zip(inputs.astype(int) - 1, labels.astype(int) - 1)):
        if index % 1000 == 0:  # a new solver: what it learns slows it down in the end
            solver, guard = Glucose4(bootstrap_with=clauses), n**3
        for unit in units(n):
            assert sorted(answer[unit]) == list(range(1, n + 1)), f"puzzle {index}: the label breaks the rules"
        given = question > 0
        assert (question[given] == answer[given]).all(), f"puzzle {index}: the label does not keep the givens"
        holds = [int(cell * n + d) for cell, d in enumerate(question) if d]
        guard += 1  # a fresh variable switches this puzzle's extra clause on
        solver.add_clause([-guard] + [-int(cell * n + d) for cell, d in enumerate(answer)])  # another solution
        assert not solver.solve(assumptions=[guard] + holds), f"puzzle {index} has a second solution"
        solver.add_clause([-guard])


def main():
    start, total, seen = time.time(), 0, set()
    for split in ("train", "test"):
        folder = Path(sys.argv[1]) / split
        inputs, labels = (numpy.load(folder / f"all__{name}.npy") for name in ("inputs", "labels"))
        check(inputs, labels)
        seen.update(row.tobytes() for row in inputs)
        total += len(inputs)
    print(f"{total} puzzles, {len(seen)} distinct: each has one solution, its label ({time.time() - start:.0f} s)")


if __name__ == "__main__":
    main()
