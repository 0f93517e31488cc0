"""The maze and ARC boards of `trm serve` in a headless Chromium, and the way between boards.

  boards_test.py TRM [--shots DIR]

One server with a model for each kind of puzzle, too small and untrained to solve anything: what is
tested is the page. Exits 77 with a reason where no Chromium is installed.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile

from browser import Browser, find_chromium
from page import ROOT, Page, Served, check
from tiny_model import write_tiny_model

MAZE = "\n".join(["S" + " " * 29, "#" * 29 + " "] + [" " * 30] * 27 + [" " * 29 + "G"])
MIRROR = {"train": [{"input": [[1, 0], [2, 0]], "output": [[0, 1], [0, 2]]}],
          "test": [{"input": [[3, 0, 0]], "output": [[0, 0, 3]]}, {"input": [[0, 4], [5, 0], [0, 0]]}]}
TURN = {"train": [{"input": [[1, 2]], "output": [[2, 1]]}], "test": [{"input": [[7, 8]]}]}


def cell(row, column):
    return f".maze .cell[data-index='{row * 30 + column}']"


def kind_of_cell(page, row, column):
    return page.browser.run(f"document.querySelector(\"{cell(row, column)}\").className")


def drag(browser, start, end):
    """Presses, moves and releases the mouse, as drawing does."""
    spots = [browser.run("(() => { const b = document.querySelector(%s).getBoundingClientRect();"
                         "return [b.x + b.width / 2, b.y + b.height / 2]; })()" % json.dumps(s)) for s in (start, end)]
    (x, y), (to_x, to_y) = spots
    browser.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
    for i in range(1, 31):
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", x=x + (to_x - x) * i / 30, y=y + (to_y - y) * i / 30,
                     button="left")
    browser.call("Input.dispatchMouseEvent", type="mouseReleased", x=to_x, y=to_y, button="left", clickCount=1)


def opens_file(page, name, text):
    folder = tempfile.mkdtemp(prefix="trm-page-")
    file = os.path.join(folder, name)
    with open(file, "w") as f:
        f.write(text)
    document = page.browser.call("DOM.getDocument")["root"]["nodeId"]
    node = page.browser.call("DOM.querySelector", nodeId=document, selector="#file")["nodeId"]
    page.browser.call("DOM.setFileInputFiles", nodeId=node, files=[file])
    page.browser.wait("document.getElementById('file').value === ''")
    shutil.rmtree(folder)


def draws_a_maze(page):
    page.open("maze")
    check(page.count(".maze .cell") == 900 and page.count(".maze .start") == 1, "a maze stands there to begin with")
    page.browser.click("#clear")
    page.browser.click("#solve")
    page.alerts("has no start")
    page.browser.click("#pad [data-tool='S']")
    page.browser.click(cell(0, 0))
    page.browser.click("#pad [data-tool='G']")
    page.browser.click(cell(5, 5))
    page.browser.click(cell(29, 29))  # the goal moves
    check(page.count(".maze .goal") == 1 and "goal" in kind_of_cell(page, 29, 29), "one goal")
    page.browser.click("#pad [data-tool='#']")
    drag(page.browser, cell(3, 0), cell(3, 20))
    check(page.count(".maze .wall") == 21, f"{page.count('.maze .wall')} walls of a stroke")
    drag(page.browser, cell(3, 0), cell(3, 2))  # a stroke that begins on a wall takes walls away
    check(page.count(".maze .wall") == 18, page.count(".maze .wall"))
    page.steps(4)
    page.solve()
    check(page.text("#verdict").startswith("✗ "), page.text("#verdict"))
    check(page.count("#table tr") == 4 and page.visible("#curve"), "four steps")
    shown = page.browser.run("[...document.querySelectorAll('.maze .cell')].map(c => c.className).join()")
    page.slide(0)
    check(page.count(".maze .path") == 0, "the question has no path")
    page.slide(4)
    check(shown == page.browser.run("[...document.querySelectorAll('.maze .cell')].map(c => c.className).join()"),
          "the last step again")
    check(page.browser.run("document.querySelector('.maze .start').textContent") == "S", "S stays on the board")
    page.shot("maze")
    page.browser.click(cell(10, 10))
    check(not page.visible("#replay") and "wall" in kind_of_cell(page, 10, 10), "drawing ends the replay")


def draws_by_keyboard(page):
    page.open("maze")
    page.tab_to("#clear")
    page.browser.key("Enter", "\r")
    page.browser.run("document.activeElement.blur()")
    page.tab_to(".cell")
    page.browser.key("s", "s")
    page.browser.key("ArrowRight")
    page.browser.key("#", "#")
    page.browser.key("ArrowDown")
    page.browser.key("w", "w")
    check(page.text("#say") == "row 2 column 2: wall", page.text("#say"))
    page.browser.key(" ", " ")
    check("open" in kind_of_cell(page, 1, 1) and "wall" in kind_of_cell(page, 0, 1), "space opens")
    page.browser.key("End")
    page.browser.key("PageDown")
    page.browser.key("g", "g")
    check("goal" in kind_of_cell(page, 29, 29), kind_of_cell(page, 29, 29))
    check(page.browser.run("document.activeElement.getAttribute('aria-label')") == "row 30 column 30: goal", "labels")
    page.browser.key("Enter", "\r")
    page.browser.wait("!document.body.hasAttribute('data-busy') && document.querySelector('#table tr')")
    page.tab_to("#slider")
    page.browser.key("Home")
    check(page.text("#at") == "question", page.text("#at"))
    page.browser.key("ArrowRight")
    check(page.text("#at") == "1 / 16", page.text("#at"))


def reads_mazes(page):
    page.open("maze")
    for text, why in (("S G", "30 lines of 30"), (MAZE.replace("G", "x"), "“x”")):
        page.use(text)
        page.alerts(why)
    page.use(MAZE)
    check(page.count(".maze .wall") == 29, page.count(".maze .wall"))
    opens_file(page, "maze.txt", MAZE.replace("#", " "))
    check(page.count(".maze .wall") == 0, "a file is read")
    options = page.browser.run("[...document.querySelectorAll('#pick option')].map(o => o.textContent)")
    check(len(options) == 5 and options[-1].startswith("Very long") and "steps" in options[-1], options)
    page.tab_to("#pick")
    for _ in options[1:]:
        page.browser.key("ArrowDown")
        check(page.count(".maze .wall") > 200, "a maze of the list")
    # A maze that no path leads through cannot be solved, and that is said.
    page.use(MAZE.replace("#" * 29 + " ", "#" * 30))
    page.steps(1)
    page.solve()
    check("no path from S to G" in page.text("#verdict").replace("No", "no"), page.text("#verdict"))


def plays_an_arc_task(page):
    page.open("arc")
    check("does not see the examples" in page.text("#note") and "lets" in page.text("#note"), page.text("#note"))
    page.browser.click("#solve")
    page.alerts("Open a task first")
    for text, why in (("{", "not JSON"), ("[1]", "\"train\" and \"test\""), ('{"train": [], "test": [{}]}', "test 1 input")):
        page.use(text)
        page.alerts(why)
    opens_file(page, "mirror.json", json.dumps(MIRROR))
    check(not page.visible("#alert") and page.count(".arc .pair") == 1, "the task is shown")
    check(page.browser.run("document.querySelector('#pad input').value") == "mirror", "the file's name is the task's")
    page.steps(3)
    page.solve()
    check(page.text("#verdict").startswith("Answered in 3 steps"), page.text("#verdict"))
    captions = page.browser.run("[...document.querySelectorAll('.arc .tests figcaption')].map(c => c.textContent)")
    check(captions[0] == "Test 1" and captions[1].startswith("Answer: not the expected") and captions[2] == "Expected",
          captions)
    page.slide(1)
    check(page.count("#table tr.now") == 1 and page.text("#at") == "1 / 3", page.text("#at"))
    page.shot("arc")
    page.browser.click("#pad button:nth-of-type(2)")
    check(page.browser.run("document.querySelector('#pad button:nth-of-type(2)').ariaPressed") == "true", "the second test")
    page.solve()
    captions = page.browser.run("[...document.querySelectorAll('.arc .tests figcaption')].map(c => c.textContent)")
    check(captions == ["Test 2", "Answer"], captions)


def picks_an_arc_task(page):
    page.open("arc")
    options = page.browser.run("[...document.querySelectorAll('#pick option')].map(o => o.textContent)")
    check(len(options) == 2 and "made for this page" in options[1], options)
    page.tab_to("#pick")
    page.browser.key("ArrowDown")
    check(page.count(".arc .pair") == 2, "the example of the page")
    opens_file(page, "challenges.json", json.dumps({"mirror": MIRROR, "turn": TURN}))
    options = page.browser.run("[...document.querySelectorAll('#pick option')].map(o => o.textContent)")
    check(options == ["Choose…", "mirror", "turn"], options)
    page.tab_to("#pick")
    page.browser.key("ArrowDown")
    check(page.browser.run("document.querySelector('#pad input').value") == "turn", "the next task")
    page.steps(1)
    page.solve()
    page.alerts("none that this model was trained on")
    page.tab_to("#pad input")
    page.browser.run("document.activeElement.select()")
    page.browser.key("Backspace")
    page.solve()
    check(page.text("#verdict").startswith("Answered in 1 step"), page.text("#verdict"))


def switches(page):
    page.open()
    check(page.browser.run("document.body.dataset.kind") == "sudoku", "the first model")
    question = page.cells()
    page.steps(2)
    page.solve()
    page.tab_to("#kinds [data-kind='maze']")
    page.browser.key("Enter", "\r")
    page.browser.wait("document.querySelector('.maze .start')")
    check("maze.safetensors" in page.text("#model") and not page.visible("#replay"), page.text("#model"))
    check(page.browser.run("location.hash") == "#maze", "an address of its own")
    page.browser.click("#kinds [data-kind='arc']")
    page.browser.wait("document.body.dataset.kind === 'arc'")
    check(not page.visible("#example") and page.count("#pad button") == 0, "ARC has no entry pad")
    page.browser.click("#kinds [data-kind='sudoku']")
    check(page.cells() == question and page.count("#pad button") == 5, "the puzzle stayed")
    page.browser.click("#solve")
    page.browser.click("#kinds [data-kind='maze']")  # while it thinks
    check(page.browser.run("document.querySelector('#kinds [data-kind=maze]').ariaPressed") == "true", "the maze")
    page.browser.wait("fetch('/healthz').then(r => r.json()).then(h => h.running === 0)")
    check(not page.visible("#replay") and not page.visible("#alert"), "no steps of another board")


def fits_and_is_dark(page):
    for kind in ("maze", "arc"):
        for name, width, dark in (("phone", 360, False), ("dark", 1200, True), ("light", 1200, False)):
            page.browser.size(width, 900, mobile=width < 500)
            page.browser.dark(dark)
            page.open(kind)
            if kind == "arc":
                page.use(json.dumps(MIRROR))
            else:
                page.browser.run("(() => { const p = document.getElementById('pick'); p.value = 2;"
                                 "p.dispatchEvent(new Event('change')); })()")
            page.steps(2)
            page.solve()
            check(page.count("#table tr") == 2, page.text("#verdict"))
            wide = page.browser.run("document.documentElement.scrollWidth")
            check(wide <= width, f"{kind}: {wide} pixels wide of {width}")
            page.shot(f"{kind}-{name}")
            if (kind, name) == ("maze", "phone"):
                page.browser.tap("#clear")
                page.browser.tap(cell(4, 4))
                page.browser.wait("document.querySelectorAll('.maze .wall').length === 1")
    page.browser.size(1200, 900)


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
    folder = tempfile.mkdtemp(prefix="trm-boards-")
    maze, arc, names = (os.path.join(folder, n) for n in ("maze.safetensors", "arc.safetensors", "identifiers.json"))
    write_tiny_model(maze, 6)
    write_tiny_model(arc, 12, identifiers=2)
    with open(names, "w") as f:
        json.dump(["<blank>", "mirror"], f)
    sudoku = os.path.join(ROOT, "tests/fixtures/checkpoint/tiny_trm/step_10")
    browser = Browser(chromium)
    try:
        with Served(o.trm, "--checkpoint", sudoku, "--checkpoint", maze, "--checkpoint", arc, "--names", names) as url:
            browser.size(1200, 900)
            page = Page(browser, url, o.shots)
            for test in (draws_a_maze, draws_by_keyboard, reads_mazes, plays_an_arc_task, picks_an_arc_task, switches,
                         fits_and_is_dark):
                test(page)
                print(f"{test.__name__.replace('_', ' ')}: ok", flush=True)
            # The task that the model does not know is refused, and the browser logs that.
            problems = [p for p in browser.problems() if "400" not in str(p)]
            check(not problems, f"errors on the page: {problems}")
    finally:
        browser.close()
        shutil.rmtree(folder)
    print("boards: all ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
