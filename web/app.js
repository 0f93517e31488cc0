// The page: a board for the kind of puzzle, its model's steps as they come, and the way back through them.
import { SudokuBoard } from "/sudoku.js";
import { MazeBoard } from "/maze.js";
import { ArcBoard } from "/arc.js";

const $ = id => document.getElementById(id);
const BOARDS = { sudoku: SudokuBoard, maze: MazeBoard, arc: ArcBoard };
const NAMES = { sudoku: "Sudoku", maze: "Maze", arc: "ARC" };
const LARGEST_FILE = 1 << 24; // bytes; all tasks of ARC-AGI take four million
const state = { steps: [], at: 0, following: true, solving: null, done: null, player: 0 };
const pages = {}; // by kind: its model, board and list of puzzles
let server, page, board, model;

const say = text => { $("say").textContent = text; };
const percent = p => p >= .995 ? "100 %" : p < .0005 ? "0 %" : p < .1 ? (100 * p).toFixed(1) + " %" : Math.round(100 * p) + " %";
const count = n => n >= 1e6 ? (n / 1e6).toFixed(1) + " million" : n >= 1e4 ? Math.round(n / 1e3) + " thousand" : n;
const duration = ms => ms >= 1000 ? (ms / 1000).toFixed(2) + " s" : ms >= 10 ? Math.round(ms) + " ms" : ms.toFixed(1) + " ms";

function alarm(text) {
  $("alert").textContent = text;
  $("alert").hidden = !text;
}

function verdict(text, bad) {
  $("verdict").textContent = text;
  $("verdict").classList.toggle("bad", Boolean(bad));
}

function svg(tag, attributes, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) e.setAttribute(name, value);
  if (text !== undefined) e.textContent = text;
  return e;
}

function drawCurve() {
  const n = Math.max(state.steps.length, state.expected || 1), L = 34, R = 8, T = 8, B = 20, W = 400, H = 120;
  const x = i => L + (n > 1 ? i / (n - 1) : .5) * (W - L - R), y = p => H - B - p * (H - T - B);
  const parts = [];
  for (const p of [0, .5, 1]) {
    parts.push(svg("line", { class: "axis", x1: L, x2: W - R, y1: y(p), y2: y(p) }));
    parts.push(svg("text", { x: L - 6, y: y(p) + 4, "text-anchor": "end" }, `${100 * p}%`));
  }
  for (const i of new Set([0, Math.floor((n - 1) / 2), n - 1])) {
    parts.push(svg("text", { x: x(i), y: H - 4, "text-anchor": "middle" }, i + 1));
  }
  const points = state.steps.map((s, i) => `${x(i).toFixed(1)},${y(s.halt).toFixed(1)}`);
  parts.push(svg("polyline", { class: "path", points: points.join(" ") }));
  if (state.at > 0 && state.steps[state.at - 1]) {
    parts.push(svg("circle", { class: "dot", cx: x(state.at - 1), cy: y(state.steps[state.at - 1].halt), r: 5 }));
  }
  $("curve").replaceChildren(...parts);
}

function drawTimes() {
  const n = Math.max(state.steps.length, state.expected || 1), L = 34, R = 8, T = 4, B = 4, W = 400, H = 60;
  const most = Math.max(1e-9, ...state.steps.map(s => s.ms)), w = (W - L - R) / n;
  const parts = [svg("text", { x: L - 6, y: T + 10, "text-anchor": "end" }, most >= 1000 ? (most / 1000).toFixed(1) + "s" : Math.round(most) + "ms")];
  state.steps.forEach((s, i) => {
    const h = s.ms / most * (H - T - B);
    parts.push(svg("rect", { class: i + 1 === state.at ? "bar now" : "bar", x: L + i * w + w * .12, width: w * .76, y: H - B - h, height: h, rx: 1 }));
  });
  $("times").replaceChildren(...parts);
}

function tableRow(step, i) {
  const { changed, wrong } = board.compare(step, state.steps[i - 1]);
  const row = document.createElement("tr");
  for (const text of [step.step, changed.size, wrong.size, Math.round(board.sure(step)) + " %", percent(step.halt), duration(step.ms)]) {
    const cell = document.createElement("td");
    cell.textContent = text;
    row.append(cell);
  }
  return row;
}

/** Shows step `at` (from 1; 0 is the question). */
function go(at, spoken = true) {
  state.at = Math.max(0, Math.min(at, state.steps.length));
  const step = state.steps[state.at - 1];
  board.show(step, state.steps[state.at - 2]);
  $("slider").max = state.steps.length;
  $("slider").value = state.at;
  const text = step ? `step ${state.at} of ${state.steps.length}` : "the question";
  $("at").textContent = step ? `${state.at} / ${state.steps.length}` : "question";
  $("slider").setAttribute("aria-valuetext", text);
  $("halt-now").textContent = step ? percent(step.halt) : "";
  $("time-now").textContent = step ? duration(step.ms) + (step.batch > 1 ? ` for ${step.batch} puzzles` : "") : "";
  drawCurve();
  drawTimes();
  [...$("table").children].forEach((row, i) => row.classList.toggle("now", i + 1 === state.at));
  if (spoken && step) {
    const { changed, wrong } = board.compare(step, state.steps[state.at - 2]);
    say(`${text}: ${changed.size} cells changed, ${wrong.size} wrong, halting ${percent(step.halt)}`);
  }
}

function pause() {
  clearInterval(state.player);
  state.player = 0;
  $("play").textContent = "▶";
  $("play").setAttribute("aria-label", "Play the steps");
}

function play() {
  if (state.player) return pause();
  if (state.at >= state.steps.length) go(0, false);
  $("play").textContent = "❚❚";
  $("play").setAttribute("aria-label", "Pause");
  state.player = setInterval(() => {
    go(state.at + 1, false);
    if (state.at >= state.steps.length && !state.solving) pause();
  }, 350);
}

function reset() {
  pause();
  state.solving?.abort();
  state.solving = null;
  Object.assign(state, { steps: [], at: 0, following: true, done: null, expected: 0 });
  $("replay").hidden = true;
  $("legend").hidden = true;
  $("table").replaceChildren();
  verdict("");
  alarm("");
  busy(false);
}

function edit() {
  reset();
  board.show();
}

function busy(yes) {
  $("solve").hidden = yes;
  $("stop").hidden = !yes;
  document.body.toggleAttribute("data-busy", yes);
}

async function* events(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (;;) {
    const { value, done } = await reader.read();
    if (done) return;
    text += value;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const lines = text.slice(0, end).split("\n");
      const name = lines.find(l => l.startsWith("event: "))?.slice(7);
      const data = lines.find(l => l.startsWith("data: "))?.slice(6);
      if (name && data) yield [name, JSON.parse(data)];
    }
  }
}

function receive(name, data) {
  if (name === "start") {
    state.expected = data.steps;
    verdict("Thinking…");
  } else if (name === "step") {
    state.steps.push(data);
    $("replay").hidden = $("legend").hidden = false;
    $("table").append(tableRow(data, state.steps.length - 1));
    if (state.following) go(state.steps.length, false);
    else go(state.at, false);
  } else if (name === "done") {
    state.done = data;
    state.expected = 0;
    const time = `${data.steps_taken} steps, ${duration(1000 * data.seconds)}`;
    if (data.verdict === undefined) verdict(`Answered in ${time}`);
    else if (data.solved) verdict(`✓ Solved in ${time}`);
    else verdict(`✗ ${data.verdict[0].toUpperCase()}${data.verdict.slice(1)} (${time})`, true);
    go(state.at, false);
    say($("verdict").textContent);
  } else if (name === "error") {
    throw Error(data.error);
  }
}

async function solve() {
  let request;
  reset();
  try {
    request = board.question();
  } catch (e) {
    board.show();
    return alarm(e.message);
  }
  const steps = Number($("steps").value);
  if (!Number.isInteger(steps) || steps < 1 || steps > model.max_steps) {
    return alarm(`Steps must be a whole number from 1 to ${model.max_steps}.`);
  }
  const abort = state.solving = new AbortController();
  busy(true);
  verdict("Waiting…");
  try {
    const response = await fetch("/api/solve", {
      method: "POST", signal: abort.signal,
      headers: { "Content-Type": "application/json", Accept: "text/event-stream" },
      body: JSON.stringify({ ...request, kind: model.kind, steps, stream: true, early_stop: $("early").checked }),
    });
    if (!response.ok) throw Error((await response.json()).error);
    for await (const [name, data] of events(response)) receive(name, data);
    if (!state.done) throw Error("The answer broke off: the server has gone.");
  } catch (e) {
    if (abort.signal.aborted) return;
    verdict("");
    alarm(e instanceof TypeError ? "The server does not answer." : e.message.replace(/^\[\w+\] /, ""));
  } finally {
    if (state.solving === abort) {
      state.solving = null;
      busy(false);
    }
  }
}

/** Puts a puzzle on the board; `name` is its file's, or an ARC task's. */
function use(text, name = "") {
  try {
    const found = board.read(text, name);
    edit();
    $("pick").value = "";
    if (!found) return;
    list(found); // a file of several
    $("pick").value = 0;
  } catch (e) {
    alarm(e.message);
  }
}

async function example() {
  const response = await fetch("/api/example?kind=" + model.kind).catch(() => null);
  if (response?.status === 404) return; // no generator makes such large ones
  if (!response?.ok) return alarm("No puzzle could be made: the server does not answer.");
  use((await response.json()).puzzle);
}

/** Offers [{name, text}…] to pick from. */
function list(puzzles) {
  page.puzzles = puzzles;
  const first = new Option(puzzles.length > 6 ? `${puzzles.length} puzzles…` : "Choose…", "");
  $("pick").replaceChildren(first, ...puzzles.map((p, i) => new Option(p.label || p.name, i)));
  $("picking").hidden = !puzzles.length;
}

async function puzzles() {
  const response = await fetch("/api/puzzles?kind=" + model.kind).catch(() => null);
  if (!response?.ok) return [];
  return (await response.json()).puzzles.map(p => ({
    name: p.name,
    label: p.name + (p.givens ? `: ${p.givens} givens, rating ${p.rating}` : p.steps ? `: ${p.steps} steps` : ""),
    text: typeof p.puzzle === "string" ? p.puzzle : JSON.stringify(p.puzzle),
  }));
}

function pick() {
  const chosen = $("pick").value, puzzle = page.puzzles[chosen];
  if (!puzzle) return;
  use(puzzle.text, puzzle.task);
  $("pick").value = chosen;
  say(`${puzzle.label || puzzle.name} is on the board`);
}

/** Shows the board of a kind of puzzle; what stood on it is still there. */
async function turn(kind) {
  if (model) reset();
  const fresh = !pages[kind];
  model = server.models.find(m => m.kind === kind);
  if (fresh) {
    const hooks = { solve, say, edited: () => { if (state.steps.length || state.solving) edit(); else alarm(""); } };
    pages[kind] = { board: new BOARDS[kind](model, hooks), steps: model.steps, puzzles: [] };
  }
  page = pages[kind];
  board = page.board;
  $("model").textContent = `${model.name}: ${NAMES[kind]}, ${count(model.parameters)} parameters, ` +
    `${model.mixing === "mlp" ? "MLP" : "attention"}, ${model.dtype} on ${model.device.toUpperCase()}`;
  $("board").replaceChildren(board.element);
  $("pad").className = "";
  $("pad").hidden = false;
  $("pad").replaceChildren();
  board.pad($("pad"));
  board.show();
  $("keys").textContent = board.keys;
  $("text").value = "";
  $("text-label").textContent = board.importLabel;
  $("import-title").textContent = board.importTitle || "Paste a puzzle";
  $("file-label").hidden = !board.takesFiles;
  $("legend-wrong").hidden = kind === "arc";
  $("note").textContent = board.note || "";
  $("note").hidden = !board.note;
  $("steps").value = model.steps;
  $("steps").max = model.max_steps;
  $("example").hidden = $("edit").hidden = kind === "arc";
  for (const b of $("kinds").children) b.setAttribute("aria-pressed", b.dataset.kind === kind);
  document.body.dataset.kind = kind;
  history.replaceState(null, "", server.models.length > 1 ? "#" + kind : location.pathname);
  list(page.puzzles);
  if (!fresh) return;
  const found = await puzzles();
  if (page === pages[kind]) list(found);
  else pages[kind].puzzles = found;
  if (kind !== "arc" && page === pages[kind]) await example();
}

function connect() {
  $("solve").onclick = solve;
  $("stop").onclick = () => {
    state.solving?.abort();
    state.solving = null;
    busy(false);
    verdict(state.steps.length ? `Stopped after ${state.steps.length} steps` : "Stopped");
  };
  $("edit").onclick = () => { edit(); board.grid?.focus(board.grid.at); };
  $("example").onclick = example;
  $("clear").onclick = () => { board.clear(); edit(); };
  $("play").onclick = play;
  $("slider").oninput = () => {
    pause();
    go(Number($("slider").value));
    state.following = state.at === state.steps.length;
  };
  $("pick").onchange = pick;
  $("use").onclick = () => use($("text").value);
  $("file").onchange = async () => {
    const file = $("file").files[0];
    if (file?.size > LARGEST_FILE) alarm(`${file.name} is too large for a puzzle.`);
    else if (file) use(await file.text(), file.name);
    $("file").value = "";
  };
  document.addEventListener("paste", event => {
    if (["TEXTAREA", "INPUT"].includes(document.activeElement?.tagName)) return;
    use(event.clipboardData.getData("text"));
    event.preventDefault();
  });
}

async function start() {
  try {
    server = await (await fetch("/api/model")).json();
  } catch {
    $("model").textContent = "";
    return alarm("The server does not answer.");
  }
  $("runs-link").hidden = !server.runs;
  if (!server.models.length) return location.replace("/runs");
  for (const { kind } of server.models) {
    const b = document.createElement("button");
    b.type = "button";
    b.textContent = NAMES[kind];
    b.dataset.kind = kind;
    b.onclick = () => { if (kind !== model.kind) turn(kind); };
    $("kinds").append(b);
  }
  $("kinds").hidden = server.models.length < 2;
  connect();
  const asked = location.hash.slice(1);
  await turn((server.models.find(m => m.kind === asked) || server.models[0]).kind);
  document.body.dataset.ready = "yes";
}

start();
