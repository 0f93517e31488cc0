"""The completion of trm in a real shell on a terminal, with the Tab key.

  completion_test.py TRM bash|zsh

Exits 77 with a reason where the shell is not installed.
"""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

# What is typed, and the arguments that trm then gets.
CASES = [("trm ser\t\n", ["serve"]), ("trm dataset su\t\n", ["dataset", "sudoku"]),
         ("trm serve --max-b\t5\n", ["serve", "--max-body", "5"]), ("trm dataset info --ag\t\n", ["dataset", "info", "--against"]),
         ("trm completion --he\t\n", ["completion", "--help"]), ("trm inspect my\t\n", ["inspect", "my model.npz"])]


class Shell:
    def __init__(self, arguments, folder):
        environment = {"PATH": os.environ["PATH"], "HOME": folder, "TERM": "dumb", "LANG": "C.UTF-8"}
        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(folder)
            os.execvpe(arguments[0], arguments, environment)

    def say(self, text, until):
        """What comes back once `until` is among it."""
        os.write(self.terminal, text.encode())
        got, end = "", time.time() + 30
        while not re.search(until, got):
            ready, _, _ = select.select([self.terminal], [], [], max(0, end - time.time()))
            if not ready:
                raise AssertionError(f"{text!r}: no {until!r} in {got!r}")
            got += os.read(self.terminal, 4096).decode(errors="replace")
        return got

    def close(self):
        os.close(self.terminal)
        os.waitpid(self.process, 0)


def check_shell(trm, folder, name, arguments, setup):
    shell = Shell(arguments, folder)
    shell.say("\n".join(setup) + "\necho rea''dy\n", r"ready\r?\n")
    # The program is not run: what it would get is printed.
    shell.say("trm() { for a; do printf '<%s>' \"$a\"; done; echo '<e''nd>'; }; echo also rea''dy\n", r"also ready\r?\n")
    for typed, wanted in CASES:
        got = re.findall(r"<([^<>]*)>", re.search(r"(<[^<>]*>)*<end>", shell.say(typed, "<end>")).group())[:-1]
        if got != wanted:
            raise AssertionError(f"{name}: {typed!r} became {got}")
    shell.say("exit\n", r"exit")
    shell.close()
    print(f"{name}: {len(CASES)} lines completed")


def main():
    trm, name = os.path.abspath(sys.argv[1]), sys.argv[2]
    if not shutil.which(name):
        print(f"SKIPPED: no {name} is installed")
        return 77
    folder = tempfile.mkdtemp(prefix="trm-completion-")
    try:
        open(os.path.join(folder, "my model.npz"), "w").close()
        functions = os.path.join(folder, "functions")
        os.mkdir(functions)
        with open(os.path.join(functions, "_trm"), "w") as out:
            subprocess.run([trm, "completion", name], stdout=out, check=True)
        if name == "bash":
            check_shell(trm, folder, "bash", ["bash", "--norc", "--noprofile", "-i"], ["source functions/_trm"])
        else:
            load = "autoload -U compinit; compinit -u -D"
            check_shell(trm, folder, "zsh, by fpath", ["zsh", "-f", "-i"], ["fpath=($PWD/functions $fpath)", load])
            check_shell(trm, folder, "zsh, sourced", ["zsh", "-f", "-i"], [load, "source functions/_trm"])
    finally:
        shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
