import { Grid, button } from "/grid.js";

const SIDE = 30;

function picture(rows, label) {
  const grid = new Grid({ rows: Math.max(1, rows.length), columns: Math.max(1, rows[0]?.length || 1), label, readonly: true });
  rows.forEach((row, r) => row.forEach((c, k) => grid.cells[r * row.length + k].classList.add(c < 0 ? "empty" : "c" + c)));
  return grid;
}

function figure(caption, content) {
  const f = document.createElement("figure"), c = document.createElement("figcaption");
  c.textContent = caption;
  f.append(c, content);
  return f;
}

function checked(rows, where) {
  const good = Array.isArray(rows) && rows.length >= 1 && rows.length <= SIDE && Array.isArray(rows[0]) &&
    rows[0].length >= 1 && rows[0].length <= SIDE &&
    rows.every(r => Array.isArray(r) && r.length === rows[0].length && r.every(c => Number.isInteger(c) && c >= 0 && c <= 9));
  if (!good) throw Error(`${where} must be 1 to ${SIDE} rows of 1 to ${SIDE} colours from 0 to 9, all equally long.`);
  return rows;
}

/** An ARC task from its JSON: the examples, one test input, and the model's output for it. */
export class ArcBoard {
  constructor(model, hooks) {
    this.model = model;
    this.hooks = hooks;
    this.element = document.createElement("div");
    this.element.className = "arc";
    this.importLabel = "An ARC task: {\"train\": [{\"input\", \"output\"}…], \"test\": [{\"input\"}…]}";
    this.importTitle = "Open an ARC task";
    this.takesFiles = true;
    this.keys = "Open a task's JSON file, or one of many tasks and pick among them, or paste it anywhere on the page. In the replay, left and right step back and forth.";
    this.note = "A TRM does not see the examples: it knows a task by a vector learned in training. " +
      (model.tasks ? "Tasks that it was trained on are found by their name. " : "Without trm serve --names it is not told which task this is, and guesses. ") +
      "It answers once here; trm solve lets the known turned and recoloured forms of a task vote.";
    this.task = null;
    this.name = "";
    this.test = 0;
    this.buttons = [];
    this.show();
  }

  pad(element) {
    this.padElement = element;
    this.fill();
  }

  /** A button for each test input, and the name that the model may know the task by. */
  fill() {
    const tests = this.task?.test || [];
    const parts = tests.length < 2 ? [] : tests.map((_, i) =>
      button(`Test ${i + 1}`, "", () => { this.test = i; this.hooks.edited(); this.show(); this.press(); }));
    this.buttons = parts.slice();
    if (this.model.tasks && this.task) {
      const label = document.createElement("label"), input = document.createElement("input");
      label.append("Its name in training ", input);
      input.value = this.name;
      input.placeholder = "unknown";
      input.spellcheck = false;
      input.oninput = () => { this.name = input.value.trim(); };
      parts.push(label);
    }
    this.padElement.replaceChildren(...parts);
    this.padElement.classList.add("tools");
    this.padElement.hidden = !parts.length;
    this.press();
  }

  press() { this.buttons.forEach((b, i) => b.setAttribute("aria-pressed", i === this.test)); }

  /** A task's JSON, or one of many tasks by name: those are returned to pick from. */
  read(text, name) {
    let json;
    try { json = JSON.parse(text); } catch { throw Error("This is not JSON: an ARC task is expected."); }
    if (json && typeof json === "object" && !Array.isArray(json) && !("train" in json)) {
      const tasks = Object.entries(json);
      if (tasks.length && tasks.every(([, t]) => Array.isArray(t?.train) && Array.isArray(t?.test))) {
        this.put(tasks[0][1], tasks[0][0]);
        return tasks.map(([taskName, task]) => ({ name: taskName, task: taskName, text: JSON.stringify(task) }));
      }
    }
    this.put(json, name.replace(/\.json$/, ""));
    return undefined;
  }

  put(json, name) {
    if (!Array.isArray(json?.train) || !Array.isArray(json?.test) || !json.test.length) {
      throw Error("An ARC task has \"train\" and \"test\", each a list of {\"input\", \"output\"}.");
    }
    json.train.forEach((p, i) => { checked(p?.input, `train ${i + 1} input`); checked(p?.output, `train ${i + 1} output`); });
    json.test.forEach((p, i) => { checked(p?.input, `test ${i + 1} input`); if (p.output) checked(p.output, `test ${i + 1} output`); });
    this.task = json;
    this.name = name;
    this.test = 0;
    this.fill();
    this.show();
  }

  clear() { this.task = null; this.name = ""; this.fill(); this.show(); }

  question() {
    if (!this.task) throw Error("Open a task first.");
    const request = { puzzle: this.task.test[this.test].input };
    if (this.model.tasks && this.name) request.task = this.name;
    return request;
  }

  compare(step, before) {
    const changed = new Set(), wrong = new Set(), now = step.answer, then = before?.answer || [];
    for (let r = 0; r < Math.max(now.length, then.length); ++r) {
      for (let c = 0; c < Math.max(now[r]?.length || 0, then[r]?.length || 0); ++c) {
        if (now[r]?.[c] !== then[r]?.[c]) changed.add(r * SIDE + c);
      }
    }
    return { changed, wrong };
  }

  show(step, before) {
    if (!this.task) {
      const p = document.createElement("p");
      p.textContent = "Open or paste an ARC task to begin.";
      this.element.replaceChildren(p);
      return;
    }
    const pairs = document.createElement("div"), tests = document.createElement("div");
    pairs.className = "pairs";
    tests.className = "tests";
    this.task.train.forEach((pair, i) => {
      const both = document.createElement("div");
      both.className = "pair";
      both.append(picture(pair.input, `Example ${i + 1}, input`).element, "→", picture(pair.output, `Example ${i + 1}, output`).element);
      pairs.append(both);
    });
    const test = this.task.test[this.test];
    tests.append(figure(`Test ${this.test + 1}`, picture(test.input, "Test input").element));
    if (step) {
      const { changed } = this.compare(step, before), grid = picture(step.answer, `Answer of step ${step.step}`);
      const columns = step.answer[0]?.length || 1;
      grid.cells.forEach((cell, i) => {
        const at = Math.floor(i / columns) * SIDE + i % columns;
        cell.classList.add("unsure");
        cell.classList.toggle("changed", Boolean(before) && changed.has(at));
        cell.style.setProperty("--sure", step.confidence[at]);
      });
      const right = test.output && JSON.stringify(test.output) === JSON.stringify(step.answer);
      tests.append(figure(`Answer${test.output ? right ? ": right" : ": not the expected one" : ""}`, grid.element));
    }
    if (test.output) tests.append(figure("Expected", picture(test.output, "Expected output").element));
    this.element.replaceChildren(figure("Examples", pairs), tests);
  }

  sure(step) {
    const n = step.confidence.length;
    return n ? step.confidence.reduce((a, b) => a + b, 0) / n : 100;
  }
}
