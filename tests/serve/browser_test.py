"""The page of `trm serve` in a headless Chromium, as a person would use it.

  browser_test.py TRM [--shots DIR]

Exits 77 with a reason where no Chromium is installed. --shots keeps pictures of what was seen. The
model is the one that comes with trm, else a trained one beside the checkout; both must solve a hard
puzzle. Where there is neither, the page is tested with a model too small to solve anything.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile

from browser import Browser, find_chromium
from page import ROOT, Page, Served, check


HARD = "7..29........64..2.4.....5....7.1.........4813.....9...8..2..7...75..1.64.9......"


def checkpoint():
    """A checkpoint and whether it is trained."""
    for trained in ("models/sudoku-extreme.safetensors", "../shared/checkpoints/step_6510"):
        if os.path.exists(os.path.join(ROOT, trained)):
            return os.path.join(ROOT, trained), True
    return os.path.join(ROOT, "tests/fixtures/checkpoint/tiny_trm/step_10"), False


def blank_of(page):
    return "." * len(page.cells())


def solves_a_hard_puzzle(page, puzzle):
    page.open()
    page.use(puzzle)
    page.steps(16)
    page.solve()
    check(page.text("#verdict").startswith("✓ Solved"), page.text("#verdict"))
    answer = page.cells()
    check(all(p in (".", a) for p, a in zip(puzzle, answer)), "a given was changed: " + answer)
    check("." not in answer and not page.browser.run("document.querySelector('.cell.wrong')"), answer)
    page.shot("solved")


def replays_the_steps(page, puzzle):
    page.open()
    page.use(puzzle)
    page.steps(5)
    page.solve()
    check(page.browser.run("document.getElementById('slider').max") == "5", "five steps to slide over")
    check(page.browser.run("document.querySelectorAll('#table tr').length") == 5, "five rows")
    last = page.cells()
    page.slide(0)
    check(page.cells() == puzzle, "step 0 is the question")
    page.slide(1)
    check(page.text("#at") == "1 / 5", page.text("#at"))
    check(page.browser.run("document.querySelectorAll('.cell.guess').length") == puzzle.count("."),
          "guesses are told from givens")
    sure = page.browser.run("document.querySelector('.cell.guess').style.getPropertyValue('--sure')")
    check(0 < int(sure) <= 100, f"confidence {sure}")
    check(page.browser.run("document.querySelectorAll('#curve .dot').length") == 1, "a dot on the curve")
    page.shot("replay")
    page.slide(0)
    page.browser.click("#play")
    page.browser.wait("document.getElementById('at').textContent === '5 / 5'")
    check(page.cells() == last, "playing ends at the answer")
    page.browser.click("#edit")
    check(page.cells() == puzzle and not page.visible("#replay"), "back to editing")


def works_by_keyboard(page):
    page.open()
    page.browser.click("#clear")
    page.browser.run("document.querySelector('.cell').focus()")
    page.browser.key("2", "2")
    page.browser.key("ArrowRight")
    page.browser.key("1", "1")
    check(page.cells()[:3] == "21.", page.cells())
    check("row 1 column 2: 1" in page.text("#say"), page.text("#say"))
    page.browser.key("Backspace")
    page.browser.key("ArrowLeft")
    check(page.browser.run("document.activeElement.getAttribute('aria-label')") ==
          "row 1 column 1: 2, given", "the focus is spoken")
    page.steps(2)
    page.browser.key("Enter", "\r")
    page.browser.wait("!document.body.hasAttribute('data-busy') && document.querySelector('#table tr')")
    page.browser.click("#clear")
    page.browser.click(".cell:nth-child(1)")
    page.browser.click("#pad button")  # the pad, for touch
    check(page.cells()[0] == "1", page.cells())


def picks_a_puzzle(page):
    page.open()
    options = page.browser.run("[...document.querySelectorAll('#pick option')].map(o => o.textContent)")
    check(len(options) >= 4 and "Easy" in options[1] and "rating" in options[-1], options)
    page.tab_to("#pick")
    seen = set()
    for _ in options[1:]:
        page.browser.key("ArrowDown")
        puzzle = page.cells()
        seen.add(puzzle)
        check(page.text("#say").endswith("is on the board"), page.text("#say"))
    check(len(seen) == len(options) - 1, "each is another puzzle")
    page.shot("picked")


def works_without_a_mouse(page, puzzle):
    """From opening the page to going back through the steps, with the keyboard alone."""
    page.open()
    page.tab_to("#clear")
    page.browser.key("Enter", "\r")
    page.browser.run("document.activeElement.blur()")  # Tab starts at the top again
    page.tab_to(".cell")
    size = round(len(puzzle) ** .5)
    for row in range(size):
        page.browser.key("Home")
        for column in range(size):
            digit = puzzle[row * size + column]
            if digit != ".":
                page.browser.key(digit, digit)
            page.browser.key("ArrowRight")
        page.browser.key("ArrowDown")
    check(page.cells() == puzzle, page.cells())
    page.tab_to("#steps")
    page.browser.run("document.activeElement.select()")
    page.browser.key("3", "3")
    page.browser.run("document.activeElement.blur()")
    page.tab_to("#solve")
    page.browser.key("Enter", "\r")
    page.browser.wait("!document.body.hasAttribute('data-busy') && document.querySelector('#table tr')")
    page.tab_to("#slider")
    page.browser.key("ArrowLeft")
    check(page.text("#at") == "2 / 3", page.text("#at"))
    page.browser.key("Home")
    check(page.text("#at") == "question" and page.cells() == puzzle, page.text("#at"))
    page.browser.key("End")
    check(page.text("#at") == "3 / 3", page.text("#at"))


def answers_bad_input(page):
    page.open()
    blank = blank_of(page)
    for text, why in (("12", "characters"), ("x" + blank[1:], "“x”")):
        page.use(text)
        check(why in page.text("#alert") and page.visible("#alert"), page.text("#alert"))
    page.use("11" + blank[2:])
    check(page.browser.run("document.querySelectorAll('.cell.wrong').length") == 2, "two digits clash")
    page.browser.click("#solve")
    check("break a rule" in page.text("#alert"), page.text("#alert"))
    page.shot("bad-input")
    page.use(blank)
    page.steps(100000)
    page.browser.click("#solve")
    check("Steps must be" in page.text("#alert"), page.text("#alert"))
    # What the page would not send, the server answers.
    status = page.browser.run("fetch('/api/solve', {method: 'POST', body: '{\"puzzle\": 1}', headers:"
                              "{'Content-Type': 'application/json'}}).then(r => r.status)")
    check(status == 400, status)


def stops(page):
    page.open()
    page.use(blank_of(page))
    page.steps(64)
    page.browser.click("#solve")
    page.browser.wait("document.querySelectorAll('#table tr').length > 0")
    if page.visible("#stop"):  # a small model may be done already
        page.browser.click("#stop")
        check(page.text("#verdict").startswith("Stopped"), page.text("#verdict"))
    page.browser.wait("fetch('/healthz').then(r => r.json()).then(h => h.running === 0)")


def fits_a_phone(page, puzzle):
    page.browser.size(360, 740, mobile=True)
    page.open()
    page.use(puzzle)
    page.steps(2)
    page.solve()
    wide = page.browser.run("document.documentElement.scrollWidth")
    check(wide <= 360, f"{wide} pixels wide")
    small = page.browser.run(
        "[...document.querySelectorAll('button, summary')].filter(b => b.checkVisibility() &&"
        "b.getBoundingClientRect().height < 28).map(b => b.textContent)")
    check(not small, f"too small to touch: {small}")
    page.shot("phone")
    page.browser.tap("#clear")  # and now by touch alone
    page.browser.tap(".cell:nth-child(2)")
    page.browser.tap("#pad button:nth-child(3)")
    page.browser.wait("document.querySelectorAll('.cell')[1].textContent === '3'")
    page.browser.tap("#solve")
    page.browser.wait("document.querySelectorAll('#table tr').length === 2 && !document.body.hasAttribute('data-busy')")
    page.browser.size(1200, 900)


def contrast(a, b):
    def light(rgb):
        return sum(w * ((c / 255 + .055) / 1.055) ** 2.4 if c > 10 else w * c / 3295
                   for w, c in zip((.2126, .7152, .0722), rgb))
    high, low = sorted((light(a), light(b)), reverse=True)
    return (high + .05) / (low + .05)


def is_readable_light_and_dark(page, puzzle):
    backs = []
    for dark in (False, True):
        page.browser.dark(dark)
        page.open()
        page.use(puzzle)
        page.steps(2)
        page.solve()
        style = ("getComputedStyle(document.querySelector('{0}'))['{1}'].match(/\\d+/g).slice(0, 3).map(Number)")
        back = page.browser.run(style.format("body", "backgroundColor"))
        backs.append(sum(back))
        for selector in ("body", "#model", "#side figcaption"):
            colour = page.browser.run(style.format(selector, "color"))
            check(contrast(colour, back) >= 4.5, f"{selector}: {colour} on {back}")
        page.shot("dark" if dark else "light")
    check(backs[0] > 600 > 200 > backs[1], backs)
    page.browser.dark(False)


def shows_runs_live(browser, url, runs, shots):
    browser.open(url + "runs")
    browser.wait("document.getElementById('live').textContent.startsWith('live')")
    check(browser.run("document.querySelectorAll('#runs .run').length") == 2, "two runs to compare")
    shown = "[...document.querySelectorAll('.card')].filter(c => c.style.display !== 'none').length"
    check(browser.run(shown) >= 2, "charts are drawn")
    check("12" in browser.run("document.querySelector('#summary').textContent"), "the last step is told")
    with open(os.path.join(runs, "a", "metrics.jsonl"), "a") as f:
        f.write('{"step": 777, "time": 777, "train/loss": 0.5}\n')
    browser.wait("document.querySelector('#summary').textContent.includes('777')", 30)
    if shots:
        browser.screenshot(os.path.join(shots, "runs.png"))


def write_runs(folder):
    for name, slope in (("a", 0.9), ("b", 0.8)):
        os.makedirs(os.path.join(folder, name))
        with open(os.path.join(folder, name, "metrics.jsonl"), "w") as f:
            for step in range(1, 13):
                line = {"step": step, "time": 2.0 * step, "train/loss": 4 * slope**step}
                if step % 4 == 0:
                    line["eval/exact_accuracy"] = 1 - slope**step
                f.write(json.dumps(line) + "\n")


def test_all(browser, url, trained, runs, shots):
    browser.size(1200, 900)
    page = Page(browser, url, shots)
    page.open()
    puzzle = HARD if trained else page.cells()
    tests = {"replay": lambda: replays_the_steps(page, puzzle), "keyboard": lambda: works_by_keyboard(page),
             "keyboard alone": lambda: works_without_a_mouse(page, puzzle),
             "pick": lambda: picks_a_puzzle(page), "bad input": lambda: answers_bad_input(page),
             "stop": lambda: stops(page), "phone": lambda: fits_a_phone(page, puzzle),
             "light and dark": lambda: is_readable_light_and_dark(page, puzzle),
             "runs": lambda: shows_runs_live(browser, url, runs, shots)}
    if trained:
        tests = {"hard puzzle": lambda: solves_a_hard_puzzle(page, puzzle), **tests}
    for name, test in tests.items():
        test()
        print(f"{name}: ok", flush=True)
    # The request of the bad-input test is meant to fail, and the browser logs it.
    problems = [p for p in browser.problems() if "400" not in str(p)]
    check(not problems, f"errors on the page: {problems}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trm")
    parser.add_argument("--shots")
    o = parser.parse_args()
    chromium = find_chromium()
    if not chromium:
        print("SKIPPED: no chromium is installed (apt install chromium)")
        return 77
    if o.shots:
        os.makedirs(o.shots, exist_ok=True)
    file, trained = checkpoint()
    print(f"model: {os.path.relpath(file, ROOT)}")
    runs = tempfile.mkdtemp(prefix="trm-runs-")
    write_runs(runs)
    browser = Browser(chromium)
    try:
        with Served(o.trm, "--runs", runs, "--checkpoint", file) as url:
            test_all(browser, url, trained, runs, o.shots)
    finally:
        browser.close()
        shutil.rmtree(runs)
    print("browser: all ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
