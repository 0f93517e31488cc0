// A grid of cells that is reached by keyboard, mouse and touch: one tab stop, arrow keys within.
export class Grid {
  /** @param options {rows, columns, label, readonly, onKey(index, key) -> handled, onPaint(index, first)} */
  constructor(options) {
    Object.assign(this, options);
    this.element = document.createElement("div");
    this.element.className = "grid";
    this.element.setAttribute("role", options.readonly ? "img" : "grid");
    this.element.setAttribute("aria-label", options.label);
    this.element.style.setProperty("--rows", options.rows);
    this.element.style.setProperty("--columns", options.columns);
    this.cells = [];
    this.at = 0;
    for (let r = 0; r < options.rows; ++r) {
      const row = document.createElement("div");
      row.setAttribute("role", "row");
      row.style.display = "contents";
      for (let c = 0; c < options.columns; ++c) {
        const cell = document.createElement("div");
        cell.className = "cell";
        if (!options.readonly) {
          cell.setAttribute("role", "gridcell");
          cell.tabIndex = this.cells.length === 0 ? 0 : -1;
        }
        cell.dataset.index = this.cells.length;
        this.cells.push(cell);
        row.append(cell);
      }
      this.element.append(row);
    }
    if (options.readonly) return;
    this.element.addEventListener("keydown", event => this.keydown(event));
    this.element.addEventListener("focusin", event => this.select(this.indexOf(event.target)));
    this.element.addEventListener("pointerdown", event => {
      const index = this.indexOf(event.target);
      if (index < 0) return;
      event.preventDefault();
      this.focus(index);
      this.painting = true;
      this.onPaint?.(index, true);
    });
    this.element.addEventListener("pointermove", event => {
      if (!this.painting) return;
      const index = this.indexOf(document.elementFromPoint(event.clientX, event.clientY));
      if (index >= 0 && index !== this.at) {
        this.select(index);
        this.onPaint?.(index, false);
      }
    });
    addEventListener("pointerup", () => { this.painting = false; });
    addEventListener("pointercancel", () => { this.painting = false; });
  }

  indexOf(node) {
    const cell = node?.closest?.(".cell");
    return cell && this.element.contains(cell) ? Number(cell.dataset.index) : -1;
  }

  select(index) {
    if (index < 0) return;
    this.cells[this.at].tabIndex = -1;
    this.at = index;
    this.cells[index].tabIndex = 0;
  }

  focus(index) {
    this.select(index);
    this.cells[index].focus({ preventScroll: true });
  }

  keydown(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const { rows, columns } = this, row = Math.floor(this.at / columns), column = this.at % columns;
    const to = {
      ArrowUp: row > 0 ? this.at - columns : this.at,
      ArrowDown: row < rows - 1 ? this.at + columns : this.at,
      ArrowLeft: column > 0 ? this.at - 1 : this.at,
      ArrowRight: column < columns - 1 ? this.at + 1 : this.at,
      Home: row * columns, End: row * columns + columns - 1,
      PageUp: column, PageDown: (rows - 1) * columns + column,
    }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      this.focus(to);
    } else if (this.onKey?.(this.at, event.key)) {
      event.preventDefault();
    }
  }
}

export const rowColumn = (index, columns) => `row ${Math.floor(index / columns) + 1} column ${index % columns + 1}`;

export function button(text, label, onClick) {
  const b = document.createElement("button");
  b.type = "button";
  b.textContent = text;
  if (label) b.setAttribute("aria-label", label);
  b.onclick = onClick;
  return b;
}
