#!/usr/bin/env python3
"""Eight clients on a `trm serve` for ten minutes: whole answers, streams, streams dropped half-way, and garbage.

  soak.py TRM CHECKPOINT --csv PUZZLES [--maze CHECKPOINT] [--seconds 600] [--clients 8] [--json FILE]
  soak.py TRM CHECKPOINT --csv PUZZLES --compare [--rounds 3] [--clients 8] [--steps 16]

Ends with 1 when the server dies, answers a client with another's puzzle, or keeps memory. With --maze a second model
is served and asked, too. --compare instead sets the
time in which all clients have their answers, each to one puzzle and all asked at once, against `trm eval` on the same
puzzles as one batch, in turns: for a quiet machine.
"""

import argparse
import csv
import http.client
import json
import os
import random
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time


class Tally:
    def __init__(self):
        self.lock = threading.Lock()
        self.counts = {}
        self.latency = {"json": [], "stream": []}
        self.faults = []

    def count(self, name, n=1):
        with self.lock:
            self.counts[name] = self.counts.get(name, 0) + n

    def fault(self, text):
        with self.lock:
            self.faults.append(text)


class Client(threading.Thread):
    def __init__(self, number, port, puzzles, answers, mazes, tally, end):
        super().__init__(daemon=True)
        self.random, self.mazes = random.Random(number), mazes
        self.port, self.puzzles, self.answers, self.tally, self.end = port, puzzles, answers, tally, end

    def run(self):
        while time.time() < self.end:
            kind = self.random.choices(("json", "stream", "drop", "garbage", "maze"),
                                       (50, 30, 12, 8, 15 if self.mazes else 0))[0]
            try:
                getattr(self, kind)()
            except (OSError, http.client.HTTPException) as e:
                self.tally.fault(f"{kind}: {type(e).__name__}: {e}")
                time.sleep(0.2)

    def post(self, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("POST", "/api/solve", json.dumps(body), {"Content-Type": "application/json"})
        return connection, connection.getresponse()

    def judge(self, puzzle, answer, echoed):
        # Rows of other batches may round otherwise, so a differing answer is counted; but it must not be another's.
        same = answer == self.answers[puzzle]
        if echoed != puzzle or not same and answer in self.answers.values():
            self.tally.fault(f"an answer for somebody else: asked {puzzle}, got {echoed} -> {answer}")
        self.tally.count("same as trm solve" if same else "other than trm solve")

    def refused(self, response):
        response.read()
        self.tally.count(f"status {response.status}")
        time.sleep(0.05)

    def json(self):
        puzzle = self.random.choice(self.puzzles)
        start = time.time()
        connection, response = self.post({"puzzle": puzzle})
        if response.status != 200:
            self.refused(response)
        else:
            answer = json.loads(response.read())
            self.tally.latency["json"].append(time.time() - start)
            self.judge(puzzle, answer["answer"], answer["puzzle"])
            self.tally.count("answered")
        connection.close()

    def stream(self):
        puzzle = self.random.choice(self.puzzles)
        start = time.time()
        connection, response = self.post({"puzzle": puzzle, "stream": True})
        if response.status != 200:
            self.refused(response)
        else:
            text = response.read().decode()
            self.tally.latency["stream"].append(time.time() - start)
            done = re.search(r"^event: done\ndata: (.*)$", text, re.M)
            if re.search(r"^event: error\ndata: .*\"status\":503", text, re.M):
                self.tally.count("stream 503")
            elif not done:
                self.tally.fault("a stream without an end: " + text[-200:])
            else:
                answer = json.loads(done.group(1))
                self.judge(puzzle, answer["answer"], answer["puzzle"])
                self.tally.count("answered")
                steps = text.count("\nevent: step\n")
                if steps != 16:
                    self.tally.fault(f"{steps} steps")
        connection.close()

    def maze(self):
        puzzle = self.random.choice(self.mazes)
        connection, response = self.post({"puzzle": puzzle})
        if response.status != 200:
            self.refused(response)
        else:
            answer = json.loads(response.read())
            if answer["kind"] != "maze" or answer["puzzle"] != puzzle or len(answer["answer"]) != len(puzzle):
                self.tally.fault(f"an answer for somebody else: asked a maze, got {answer['kind']}")
            self.tally.count("mazes answered")
        connection.close()

    def drop(self):
        puzzle = self.random.choice(self.puzzles)
        connection, response = self.post({"puzzle": puzzle, "stream": self.random.random() < 0.8, "steps": 64})
        if self.random.random() < 0.8:
            response.read(self.random.randrange(1, 2000))
        connection.sock and connection.sock.close()
        response.close()
        self.tally.count("dropped")

    def garbage(self):
        r = self.random
        body = json.dumps({"puzzle": r.choice(self.puzzles)}).encode()
        for _ in range(r.randrange(1, 6)):
            at = r.randrange(len(body))
            body = body[:at] + bytes([r.randrange(256)]) * r.randrange(1, 4) + body[at + r.randrange(3):]
        head = b"POST /api/solve HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        what = r.choice(("body", "head", "noise", "short", "large", "bomb"))
        data = {"body": head % len(body) + body,
                "head": bytes(r.randrange(256) for _ in range(40)) + b"\r\n\r\n",
                "noise": b"GET / HTTP/1.1\r\n" + bytes(r.randrange(256) for _ in range(r.randrange(5000))),
                "short": head % 100000 + body,
                "large": head % 300000 + b" " * 300000,
                "bomb": head % 60000 + b"[" * 60000}[what]
        with socket.create_connection(("127.0.0.1", self.port), timeout=30) as s:
            try:
                s.sendall(data)
                if what != "short":
                    s.shutdown(socket.SHUT_WR)
                    while s.recv(4096):
                        pass
            except (ConnectionResetError, BrokenPipeError):
                pass
        self.tally.count("garbage")


def memory(pid):
    with open(f"/proc/{pid}/status") as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1)) / 1024


def get(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", path)
    return json.loads(connection.getresponse().read())


def quantile(values, q):
    return sorted(values)[min(len(values) - 1, int(q * len(values)))] if values else 0.0


def ask_at_once(port, puzzles, steps):
    """Asks all puzzles together, every other one as a stream: seconds until all are answered, and of each."""
    took = {"json": [], "stream": []}

    def ask(puzzle, kind):
        start = time.time()
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=180)
        body = {"puzzle": puzzle, "steps": steps, "stream": kind == "stream"}
        connection.request("POST", "/api/solve", json.dumps(body), {"Content-Type": "application/json"})
        text = connection.getresponse().read().decode()
        if '"steps_taken":' not in text:
            raise RuntimeError("no answer: " + text[-200:])
        took[kind].append(time.time() - start)
        connection.close()

    threads = [threading.Thread(target=ask, args=(p, "stream" if i % 2 else "json")) for i, p in enumerate(puzzles)]
    start = time.time()
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if sum(len(v) for v in took.values()) != len(puzzles):
        raise RuntimeError("a request was not answered")
    return time.time() - start, took


def compare(o, port, puzzles):
    rounds = []
    ask_at_once(port, puzzles, 1)  # buffers and pages as eval's own first step finds them
    for _ in range(o.rounds):
        seconds, took = ask_at_once(port, puzzles, o.steps)
        with tempfile.NamedTemporaryFile() as result:
            subprocess.run([o.trm, "eval", o.checkpoint, "--csv", o.csv, "--limit", str(len(puzzles)), "--batch-size",
                            str(len(puzzles)), "--steps", str(o.steps), "--json", result.name], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=True)
            with open(result.name) as f:
                rounds.append((seconds, json.load(f)["seconds"], took))
    median = statistics.median
    return {"puzzles at once": len(puzzles), "steps": o.steps, "rounds": o.rounds,
            "seconds for all": {"serve": median(r[0] for r in rounds), "eval": median(r[1] for r in rounds)},
            "puzzles a second": {"serve": median(len(puzzles) / r[0] for r in rounds),
                                 "eval": median(len(puzzles) / r[1] for r in rounds)},
            "throughput, serve to eval": median(r[1] / r[0] for r in rounds),
            "latency, serve to eval": {k: median(median(r[2][k]) / r[1] for r in rounds) for k in ("json", "stream")
                                       if rounds[0][2][k]}}


def start_server(o):
    models = [word for file in (o.checkpoint, o.maze) if file for word in ("--checkpoint", file)]
    server = subprocess.Popen([o.trm, "serve", *models, "--port", "0", "--timeout", str(o.timeout)],
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return server, int(re.search(r":(\d+)/", server.stdout.readline()).group(1))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("trm")
    parser.add_argument("checkpoint")
    parser.add_argument("--csv", required=True)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--maze", help="checkpoint of a maze model")
    parser.add_argument("--compare", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--json")
    o = parser.parse_args()
    with open(o.csv) as f:
        puzzles = [row["question"].replace("0", ".") for row, _ in zip(csv.DictReader(f), range(24))]
    if len(puzzles) < o.clients:
        parser.error(f"{o.csv} has {len(puzzles)} puzzles, {o.clients} are needed")
    if o.compare:
        server, port = start_server(o)
        try:
            print(json.dumps(compare(o, port, puzzles[:o.clients]), indent=2))
        finally:
            server.terminate()
        return server.wait(30)
    solved = subprocess.run([o.trm, "solve", "--checkpoint", o.checkpoint, "--line", "--views", "1"],
                            input="\n".join(puzzles) + "\n", capture_output=True, text=True, check=True).stdout.split()
    answers = dict(zip(puzzles, solved))

    server, port = start_server(o)
    mazes = [p["puzzle"] for p in get(port, "/api/puzzles?kind=maze")["puzzles"]] if o.maze else []
    tally, end = Tally(), time.time() + o.seconds
    clients = [Client(n, port, puzzles, answers, mazes, tally, end) for n in range(o.clients)]
    for c in clients:
        c.start()
    rss = []
    while time.time() < end and server.poll() is None:
        time.sleep(min(5, max(0.1, end - time.time())))
        if server.poll() is None:
            rss.append(memory(server.pid))
    for c in clients:
        c.join(180)
    result = {"seconds": o.seconds, "clients": o.clients, "counts": dict(sorted(tally.counts.items())),
              "faults": tally.faults[:20], "latency_s": {}}
    for kind, values in tally.latency.items():
        result["latency_s"][kind] = {"n": len(values), "p50": quantile(values, .5), "p95": quantile(values, .95),
                                     "max": max(values, default=0)}
    alive = server.poll() is None
    if not alive:
        result["faults"].append(f"the server ended with {server.returncode}")
    else:
        for _ in range(100):  # what dropped clients asked for is given up
            model = get(port, "/api/model")
            if model["running"] == 0 and model["waiting"] == 0:
                break
            time.sleep(0.1)
        else:
            result["faults"].append("work goes on although every client is gone")
        result["server"] = {k: model[k] for k in ("finished", "cancelled", "row_steps")}
        quarter = max(1, len(rss) // 4)
        early, late = statistics.median(rss[quarter:2 * quarter] or rss), statistics.median(rss[-quarter:])
        result["memory_MiB"] = {"second quarter": early, "last quarter": late, "most": max(rss)}
        if late > 1.15 * early + 16:
            result["faults"].append(f"memory grew from {early:.0f} to {late:.0f} MiB")
        server.terminate()
        if server.wait(30) != 0:
            result["faults"].append(f"the server ended with {server.returncode}")
    print(json.dumps(result, indent=2))
    if o.json:
        with open(o.json, "w") as f:
            json.dump(result, f, indent=2)
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
