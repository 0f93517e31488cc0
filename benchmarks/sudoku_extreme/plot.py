"""Accuracy of Sudoku-Extreme against minutes of training: docs/sudoku-extreme.svg from the curves beside this file.

python3 benchmarks/sudoku_extreme/plot.py
"""
import json
import pathlib

HERE = pathlib.Path(__file__).parent
RUNS = [  # file, label, colour
    ("shipped", "shipped (9,600 steps)", "#1b6ca8"),
    ("gate_norm", "with a norm inside SwiGLU (9,600 steps)", "#d1495b"),
    ("gate_norm_16k", "the same, first half of 16,000 steps", "#edae49"),
    ("gate_norm_random_start_16k", "and random starts", "#66a182"),
]
WIDTH, HEIGHT, LEFT, TOP, RIGHT, BOTTOM = 760, 380, 60, 20, 20, 50
MINUTES = 12


def x(minutes):
    return LEFT + minutes / MINUTES * (WIDTH - LEFT - RIGHT)


def y(accuracy):
    return TOP + (1 - accuracy) * (HEIGHT - TOP - BOTTOM)


def main():
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
           'font-size="13"><rect width="100%" height="100%" fill="#fff"/>']
    for i in range(0, 11, 2):
        out.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(i / 10)}" y2="{y(i / 10)}" stroke="#ddd"/>'
                   f'<text x="{LEFT - 8}" y="{y(i / 10) + 4}" text-anchor="end">{10 * i} %</text>')
    for m in range(0, MINUTES + 1, 2):
        out.append(f'<text x="{x(m)}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{m}</text>')
    out.append(f'<text x="{x(MINUTES / 2)}" y="{HEIGHT - 8}" text-anchor="middle">minutes on one NVIDIA H200, '
               'evaluations included</text>')
    for n, (name, label, colour) in enumerate(RUNS):
        lines = [json.loads(line) for line in (HERE / f"{name}.jsonl").read_text().splitlines()]
        points = [(d["time"] / 60, d["eval/exact_accuracy"]) for d in lines if "eval/exact_accuracy" in d]
        path = " ".join(f"{x(m):.1f},{y(a):.1f}" for m, a in [(0, 0)] + points)
        out.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        out += [f'<circle cx="{x(m):.1f}" cy="{y(a):.1f}" r="3.5" fill="{colour}"/>' for m, a in points]
        top = y(0.42) + 22 * n
        out.append(f'<rect x="{x(6)}" y="{top - 10}" width="12" height="12" fill="{colour}"/>'
                   f'<text x="{x(6) + 18}" y="{top}">{label}</text>')
    out.append("</svg>\n")
    (HERE.parent.parent / "docs" / "sudoku-extreme.svg").write_text("\n".join(out))


if __name__ == "__main__":
    main()
