"""What a person does on the page of `trm serve`."""

import json
import os
import re
import signal
import subprocess

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..")


class Served:
    """`trm serve` with these arguments, as long as the with block lasts; it must end well."""

    def __init__(self, trm, *arguments):
        self.process = subprocess.Popen([trm, "serve", "--port", "0", *arguments], stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL, text=True)

    def __enter__(self):
        line = self.process.stdout.readline()
        found = re.search(r"http://\S+", line)
        check(found, f"the server said: {line!r}")
        return found.group()

    def __exit__(self, kind, *_):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(30)
        check(kind or code == 0, f"the server ended with {code}")


def check(is_so, what):
    if not is_so:
        raise AssertionError(what)


class Page:
    def __init__(self, browser, url, shots):
        self.browser, self.url, self.shots = browser, url, shots

    def open(self, kind=""):
        # A navigation to the same address would be none.
        self.browser.call("Page.navigate", url="about:blank")
        self.browser.open(self.url + (kind and "#" + kind))
        self.browser.wait("document.body.dataset.ready")

    def text(self, selector):
        return self.browser.run(f"document.querySelector({json.dumps(selector)}).textContent")

    def cells(self):
        """Of a Sudoku."""
        return self.browser.run("[...document.querySelectorAll('.sudoku .cell')].map(c => c.textContent || '.').join('')")

    def visible(self, selector):
        return self.browser.run(f"document.querySelector({json.dumps(selector)}).checkVisibility()")

    def use(self, puzzle):
        self.browser.run(f"document.getElementById('text').value = {puzzle!r};"
                         "document.getElementById('use').click()")

    def steps(self, n):
        self.browser.run(f"document.getElementById('steps').value = {n}")

    def solve(self):
        self.browser.click("#solve")
        self.browser.wait("!document.body.hasAttribute('data-busy')")

    def slide(self, step):
        self.browser.run("(() => { const s = document.getElementById('slider');"
                         f"s.value = {step}; s.dispatchEvent(new Event('input')); }})()")

    def tab_to(self, selector):
        """Presses Tab until the element has the focus: it can be reached by keyboard."""
        for _ in range(60):
            self.browser.key("Tab")
            if self.browser.run(f"document.activeElement.matches({json.dumps(selector)})"):
                return
        raise AssertionError(f"{selector} is not reached by Tab")

    def count(self, selector):
        return self.browser.run(f"document.querySelectorAll({json.dumps(selector)}).length")

    def alerts(self, text):
        check(self.visible("#alert") and text in self.text("#alert"), f"no word of {text!r}: {self.text('#alert')}")

    def shot(self, name):
        if self.shots:
            self.browser.screenshot(os.path.join(self.shots, name + ".png"))
