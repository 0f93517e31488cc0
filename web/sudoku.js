import { Grid, button, rowColumn } from "/grid.js";

/** Sudoku of 4x4, 6x6 or 9x9: what is typed, and what the model makes of it. */
export class SudokuBoard {
  constructor(model, hooks) {
    this.hooks = hooks;
    this.size = Math.round(Math.sqrt(model.cells));
    this.boxRows = this.size === 9 ? 3 : 2;
    this.boxColumns = this.size / this.boxRows;
    this.givens = new Array(model.cells).fill(0);
    this.grid = new Grid({
      rows: this.size, columns: this.size, label: `Sudoku, ${this.size} by ${this.size}`,
      onKey: (index, key) => this.key(index, key),
    });
    this.grid.element.classList.add("sudoku");
    this.grid.cells.forEach((cell, i) => {
      const r = Math.floor(i / this.size), c = i % this.size, last = this.size - 1;
      cell.classList.toggle("right", c !== last && (c + 1) % this.boxColumns === 0);
      cell.classList.toggle("below", r !== last && (r + 1) % this.boxRows === 0);
      cell.classList.toggle("last-column", c === last);
      cell.classList.toggle("last-row", r === last);
    });
    this.element = this.grid.element;
    this.keys = `Arrow keys move, 1 to ${this.size} enter a digit, 0, Delete or Backspace erase, Enter solves. ` +
      "Pasting works anywhere on the page. In the replay, left and right step back and forth.";
    this.importLabel = `${model.cells} characters: digits, and . or 0 for a blank`;
    this.show();
  }

  pad(element) {
    for (let d = 1; d <= this.size; ++d) element.append(button(String(d), `Enter ${d}`, () => this.enter(this.grid.at, d)));
    element.append(button("⌫", "Erase", () => this.enter(this.grid.at, 0)));
  }

  key(index, key) {
    if (key === "Enter") { this.hooks.solve(); return true; }
    if (["Backspace", "Delete", ".", " "].includes(key)) key = "0";
    if (!/^[0-9]$/.test(key) || Number(key) > this.size) return false;
    this.enter(index, Number(key));
    return true;
  }

  enter(index, digit) {
    this.hooks.edited();
    this.givens[index] = digit;
    this.show();
    this.hooks.say(digit ? `${rowColumn(index, this.size)}: ${digit}${this.broken(this.givens).has(index) ? ", breaks a rule" : ""}`
      : `${rowColumn(index, this.size)} erased`);
  }

  /** Cells that share a row, column or box with their own digit. */
  broken(cells) {
    const bad = new Set();
    const n = this.size;
    for (let a = 0; a < n * n; ++a) {
      if (!cells[a]) continue;
      for (let b = a + 1; b < n * n; ++b) {
        if (cells[a] !== cells[b]) continue;
        const row = Math.floor(a / n) === Math.floor(b / n), column = a % n === b % n;
        const box = this.box(a) === this.box(b);
        if (row || column || box) { bad.add(a); bad.add(b); }
      }
    }
    return bad;
  }

  box(i) {
    const r = Math.floor(i / this.size), c = i % this.size;
    return Math.floor(r / this.boxRows) * this.boxRows + Math.floor(c / this.boxColumns);
  }

  read(text) {
    const cells = text.replace(/[\s|+_-]/g, "");
    if (cells.length !== this.givens.length) throw Error(`A puzzle has ${this.givens.length} characters, these are ${cells.length}.`);
    const bad = [...cells].findIndex(c => !(c === "." || /[0-9]/.test(c) && Number(c) <= this.size));
    if (bad >= 0) throw Error(`Character ${bad + 1} is “${[...cells][bad]}”: digits up to ${this.size}, and . or 0 for a blank.`);
    this.givens = [...cells].map(c => c === "." ? 0 : Number(c));
    this.show();
  }

  clear() { this.givens.fill(0); this.show(); }

  question() {
    if (this.broken(this.givens).size) throw Error("The marked digits break a rule: correct them first.");
    return { puzzle: this.givens.map(d => d || ".").join("") };
  }

  digits(step) { return [...step.answer].map(c => c === "." ? 0 : Number(c)); }

  /** What differs from the step before (or from the question), and what is wrong. */
  compare(step, before) {
    const now = this.digits(step), then = before ? this.digits(before) : this.givens;
    return { changed: new Set([...now.keys()].filter(i => now[i] !== then[i])), wrong: this.broken(now) };
  }

  show(step, before) {
    const now = step ? this.digits(step) : this.givens;
    const { changed, wrong } = step ? this.compare(step, before) : { changed: new Set(), wrong: this.broken(now) };
    this.grid.cells.forEach((cell, i) => {
      const given = this.givens[i] !== 0, sure = step ? step.confidence[i] : 0;
      cell.textContent = now[i] || "";
      cell.classList.toggle("given", given);
      cell.classList.toggle("guess", Boolean(step) && !given);
      cell.classList.toggle("changed", Boolean(before) && changed.has(i));
      cell.classList.toggle("wrong", wrong.has(i));
      cell.style.setProperty("--sure", sure);
      cell.title = step && !given ? `${sure} % sure` : "";
      cell.setAttribute("aria-label", `${rowColumn(i, this.size)}: ${now[i] || "blank"}` +
        (given ? ", given" : step ? `, ${sure} % sure` : "") +
        (before && changed.has(i) ? ", changed" : "") + (wrong.has(i) ? ", breaks a rule" : ""));
    });
  }

  sure(step) {
    const open = step.confidence.filter((_, i) => this.givens[i] === 0);
    return open.length ? open.reduce((a, b) => a + b, 0) / open.length : 100;
  }
}
