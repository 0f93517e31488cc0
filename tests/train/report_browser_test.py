"""The page of `trm report` in a headless Chromium: what the pointer shows, several runs compared.

  report_browser_test.py TRM [--shots DIR] [RUN ...]

Exits 77 with a reason where no Chromium is installed. --shots keeps pictures of what was seen, also
of the report of the given runs.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "serve"))
from browser import Browser, find_chromium  # noqa: E402


def check(is_so, what):
    if not is_so:
        raise AssertionError(what)


def write_run(folder, losses, accuracy):
    """Steps 1, 2, … ten seconds apart; an evaluation after the last."""
    os.makedirs(folder)
    with open(os.path.join(folder, "metrics.jsonl"), "w") as out:
        for step, loss in enumerate(losses, 1):
            out.write(json.dumps({"step": step, "time": 10.0 * step, "train/loss": loss,
                                  "train/count": 2, "train/exact_accuracy": 0.5,
                                  "train/q_halt_accuracy": 0.25, "train/steps": 3.0,
                                  "train/lr": 1e-4 * step, "train/examples_per_second": 40.0}) + "\n")
        out.write(json.dumps({"step": len(losses), "time": 10.0 * len(losses),
                              "eval/exact_accuracy": accuracy, "eval/lm_loss": 0.5}) + "\n")


class Report:
    def __init__(self, browser, file):
        self.browser = browser
        browser.open("file://" + file)

    def card(self, title):
        return f"[...document.querySelectorAll('.card')].find(c => c.querySelector('h2').textContent === {title!r})"

    def titles(self):
        return self.browser.run("[...document.querySelectorAll('.card')].filter(c => c.checkVisibility())"
                                ".map(c => c.querySelector('h2').textContent)")

    def hover(self, title, share):
        """The lines that appear with the pointer over this share of the curve's width."""
        x, y = self.browser.run(
            f"(() => {{ const c = {self.card(title)}.querySelector('canvas'); c.scrollIntoView({{block: 'center'}});"
            f"const b = c.getBoundingClientRect(); return [b.x + 52 + {share} * (b.width - 62), b.y + b.height / 2]; }})()")
        self.browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
        self.browser.wait(f"{self.card(title)}.querySelector('.tip').style.display === 'block'", 10)
        return self.browser.run(f"[...{self.card(title)}.querySelectorAll('.tip div')].map(d => d.textContent)")

    def colours(self, title):
        """Pixels of each run's colour in the chart."""
        return self.browser.run(
            f"(() => {{ const c = {self.card(title)}.querySelector('canvas');"
            "const p = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, out = [0, 0];"
            "for (let i = 0; i < p.length; i += 4) [[0x2f, 0x7e, 0xd8], [0xe4, 0x57, 0x2e]].forEach((want, r) => {"
            "if (want.every((v, k) => Math.abs(p[i + k] - v) < 9)) ++out[r]; }); return out; })()")


def compares_two_runs(browser, file, shots):
    page = Report(browser, file)
    check(page.titles() == ["Training loss", "Exact accuracy", "Evaluation loss", "q_halt accuracy",
                            "ACT steps a puzzle", "Learning rate", "Examples a second"], page.titles())
    check(page.hover("Training loss", 0) == ["first 4 at 1", "second 8 at 1"], page.hover("Training loss", 0))
    check(page.hover("Training loss", 1) == ["first 1 at 4", "second 0.125 at 5"], page.hover("Training loss", 1))
    middle = page.hover("Training loss", 0.5)
    check(middle == ["first 2 at 3", "second 3.5 at 3"], middle)
    check(page.hover("Exact accuracy", 1) == [
        "first evaluation 0.75 at 4", "first training 0.5 at 4",
        "second evaluation 0.25 at 5", "second training 0.5 at 5"], page.hover("Exact accuracy", 1))
    check(page.hover("Learning rate", 0) == ["first 1.00e-4 at 1", "second 1.00e-4 at 1"], "learning rate")
    check(page.hover("Examples a second", 0)[0] == "first 40 at 1", "speed")
    if shots:
        page.hover("Training loss", 0.5)
        browser.screenshot(os.path.join(shots, "report_two_runs.png"))
    blue, red = page.colours("Training loss")
    check(blue > 50 and red > 50, f"both curves are drawn: {blue}, {red}")
    browser.click("[name=x][value=time]")
    check(page.hover("Training loss", 0.5) == ["first 2 at 30 s", "second 3.5 at 30 s"], "against time")
    check(page.hover("Training loss", 1)[0] == "first 1 at 40 s", "against time")
    browser.click("#runs .run:nth-child(2) input")
    check(page.hover("Training loss", 0.67) == ["first 2 at 30 s"], page.hover("Training loss", 0.67))
    check(page.colours("Training loss")[1] == 0, "and its curve is gone")
    browser.click("#log")
    check(page.hover("Training loss", 1) == ["first 1 at 40 s"], "values stay values on the logarithmic axis")
    rows = browser.run("[...document.querySelectorAll('#summary tr')].map(r => r.textContent)")
    check(len(rows) == 3 and "0.75" in rows[1] and "0.25" in rows[2], rows)
    check(browser.problems() == [], browser.problems())
    check(browser.run("performance.getEntriesByType('resource').length") == 0, "nothing is loaded from elsewhere")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trm")
    parser.add_argument("--shots")
    parser.add_argument("runs", nargs="*")
    args = parser.parse_intermixed_args()
    program = find_chromium()
    if not program:
        print("skipped: no Chromium is installed")
        sys.exit(77)
    if args.shots:
        os.makedirs(args.shots, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="trm-report-") as folder:
        first, second = os.path.join(folder, "first"), os.path.join(folder, "second")
        write_run(first, [4, 3, 2, 1], 0.75)
        write_run(second, [8, 5, 3.5, 1, 0.125], 0.25)
        browser = Browser(program)
        try:
            browser.size(1200, 900)

            def report(name, runs):
                file = os.path.join(folder, name)
                subprocess.run([args.trm, "report", *runs, "-o", file], check=True, stdout=subprocess.DEVNULL)
                return file

            compares_two_runs(browser, report("two.html", [first, second]), args.shots)
            if args.runs and args.shots:
                page = Report(browser, report("given.html", args.runs))
                page.hover("Exact accuracy", 0.7)
                browser.screenshot(os.path.join(args.shots, "report.png"))
        finally:
            browser.close()
    print("the report was looked at")


if __name__ == "__main__":
    main()
