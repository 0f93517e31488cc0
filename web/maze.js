import { Grid, button, rowColumn } from "/grid.js";

const NAMES = { "#": "wall", " ": "open", S: "start", G: "goal", o: "path" };

/** A maze that is drawn by hand, and the path the model marks in it. */
export class MazeBoard {
  constructor(model, hooks) {
    this.hooks = hooks;
    this.side = Math.round(Math.sqrt(model.cells));
    this.cells = new Array(model.cells).fill(" ");
    this.tool = "#";
    this.grid = new Grid({
      rows: this.side, columns: this.side, label: `Maze, ${this.side} by ${this.side}`,
      onKey: (index, key) => this.key(index, key),
      onPaint: (index, first) => this.paint(index, first),
    });
    this.element = this.grid.element;
    this.element.classList.add("maze");
    this.importLabel = `${this.side} lines of ${this.side} characters: # wall, space open, S start, G goal`;
    this.importTitle = "Paste or open a maze";
    this.takesFiles = true;
    this.keys = "Choose a tool and draw. Arrow keys move, # or W sets a wall, space opens a cell, S and G set start and goal, Enter solves.";
    this.show();
  }

  pad(element) {
    element.classList.add("tools");
    this.tools = [["#", "Wall"], [" ", "Open"], ["S", "Start"], ["G", "Goal"]].map(([tool, name]) => {
      const b = button(name, "", () => this.choose(tool));
      b.dataset.tool = tool;
      element.append(b);
      return b;
    });
    this.choose("#");
  }

  choose(tool) {
    this.tool = tool;
    for (const b of this.tools) b.setAttribute("aria-pressed", b.dataset.tool === tool);
  }

  key(index, key) {
    if (key === "Enter") { this.hooks.solve(); return true; }
    const to = { "#": "#", w: "#", W: "#", " ": " ", Delete: " ", Backspace: " ", s: "S", S: "S", g: "G", G: "G" }[key];
    if (!to) return false;
    this.set(index, to);
    this.hooks.say(`${rowColumn(index, this.side)}: ${NAMES[to]}`);
    return true;
  }

  // A stroke that begins on a wall with the wall tool takes walls away.
  paint(index, first) {
    if (first) this.stroke = this.tool === "#" && this.cells[index] === "#" ? " " : this.tool;
    this.set(index, this.stroke);
  }

  set(index, to) {
    this.hooks.edited();
    if (to === "S" || to === "G") this.cells = this.cells.map(c => c === to ? " " : c);
    this.cells[index] = to;
    this.show();
  }

  read(text) {
    const lines = text.replace(/\r/g, "").split("\n").filter(l => l.length);
    const flat = lines.join("");
    const bad = [...flat].find(c => !"# SG".includes(c));
    if (bad) throw Error(`“${bad}” is not understood: # is a wall, a space is open, S and G are start and goal.`);
    if (flat.length !== this.cells.length || lines.length > 1 && lines.some(l => l.length !== this.side)) {
      throw Error(`A maze has ${this.side} lines of ${this.side} characters.`);
    }
    this.cells = [...flat];
    this.show();
  }

  clear() { this.cells.fill(" "); this.show(); }

  question() {
    for (const [c, name] of [["S", "start"], ["G", "goal"]]) {
      if (!this.cells.includes(c)) throw Error(`The maze has no ${name}: choose ${name === "start" ? "Start" : "Goal"} and click a cell.`);
    }
    const rows = [];
    for (let r = 0; r < this.side; ++r) rows.push(this.cells.slice(r * this.side, (r + 1) * this.side).join(""));
    return { puzzle: rows.join("\n") };
  }

  answer(step) { return [...step.answer.replaceAll("\n", "")]; }

  compare(step, before) {
    const now = this.answer(step), then = before ? this.answer(before) : this.cells;
    const changed = new Set(), wrong = new Set();
    now.forEach((c, i) => {
      if (c !== then[i]) changed.add(i);
      if (c !== this.cells[i] && !(c === "o" && this.cells[i] === " ")) wrong.add(i);
    });
    return { changed, wrong };
  }

  show(step, before) {
    const now = step ? this.answer(step) : this.cells;
    const { changed, wrong } = step ? this.compare(step, before) : { changed: new Set(), wrong: new Set() };
    this.grid.cells.forEach((cell, i) => {
      const under = this.cells[i], sure = step ? step.confidence[i] : 100;
      let kind = NAMES[under];
      if (now[i] === "o") kind += " path";
      if (before && changed.has(i)) kind += " changed";
      if (wrong.has(i)) kind += " wrong";
      cell.className = "cell " + kind;
      cell.textContent = under === "S" || under === "G" ? under : "";
      cell.style.setProperty("--sure", sure);
      cell.setAttribute("aria-label", `${rowColumn(i, this.side)}: ${kind.replace("open path", "path")}` + (step && now[i] === "o" ? `, ${sure} % sure` : ""));
    });
  }

  sure(step) {
    const marked = step.confidence.filter((_, i) => this.cells[i] === " ");
    return marked.length ? marked.reduce((a, b) => a + b, 0) / marked.length : 100;
  }
}
