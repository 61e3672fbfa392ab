// Tables: text alternatives of pictures, and what has no picture. Long ones show their first rows until asked for all.

import { button, h, type Child } from "./dom";
import { count } from "./format";

export interface Column<Row> {
  name: string;
  /** What is shown. */
  cell: (row: Row) => Child;
  /** What rows are ordered by; without, a column cannot be sorted. */
  key?: (row: Row) => number | string;
  /** Numbers stand at the right. */
  number?: boolean;
  /** Class of a cell. */
  mark?: (row: Row) => string;
}

const SHOWN = 30;

/** Make a table in a frame that scrolls sideways where it is too wide. */
export function table<Row>(caption: string, rows: readonly Row[], columns: readonly Column<Row>[], shown = SHOWN): HTMLElement {
  const body = h("tbody");
  const more = h("p", { class: "more" });
  let ordered = [...rows];
  let isWhole = rows.length <= shown;
  const fill = (): void => {
    const part = isWhole ? ordered : ordered.slice(0, shown);
    body.replaceChildren(...part.map((row) => h("tr", {}, ...columns.map((column, index) => cell(row, column, index)))));
    more.hidden = isWhole;
  };
  const heads = columns.map((column) => head(column, (direction) => {
    const key = column.key;
    if (!key) return;
    for (const each of heads) each.setAttribute("aria-sort", "none");
    ordered = [...rows].sort((a, b) => direction * compare(key(a), key(b)));
    fill();
  }));
  more.append(`${count(rows.length - Math.min(shown, rows.length))} more rows. `);
  more.append(button(`Show all ${count(rows.length)}`, () => {
    isWhole = true;
    fill();
  }));
  fill();
  const grid = h("table", {}, h("caption", {}, caption), h("thead", {}, h("tr", {}, ...heads)), body);
  return h("div", {}, h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": caption }, grid), more);
}

// A collator of its own for each comparison takes longer than what it compares.
const collator = new Intl.Collator("en", { numeric: true });

/** Compare names: eth2 is before eth10. */
export const byName = (a: string, b: string): number => collator.compare(a, b);

function compare(a: number | string, b: number | string): number {
  return typeof a === "number" && typeof b === "number" ? a - b : byName(String(a), String(b));
}

function head<Row>(column: Column<Row>, onsort: (direction: number) => void): HTMLTableCellElement {
  const kind = column.number ? "number" : "";
  if (!column.key) return h("th", { scope: "col", class: kind }, column.name);
  const element = h("th", { scope: "col", class: kind, "aria-sort": "none" });
  element.append(button(column.name, () => {
    // Figures are looked at from the largest down, names from the first on.
    const was = element.getAttribute("aria-sort");
    const descending = was === "none" ? Boolean(column.number) : was === "ascending";
    onsort(descending ? -1 : 1);
    element.setAttribute("aria-sort", descending ? "descending" : "ascending");
  }));
  return element;
}

function cell<Row>(row: Row, column: Column<Row>, index: number): HTMLTableCellElement {
  const content = column.cell(row);
  const isLong = typeof content === "string" && content.length > 24;
  const kind = [column.number ? "number" : isLong ? "text" : "", column.mark?.(row) ?? ""].join(" ").trim();
  return index === 0 ? h("th", { scope: "row", class: kind }, content) : h("td", { class: kind }, content);
}

/** Make a list of names and values as a table of two columns. */
export function pairs(caption: string, rows: readonly (readonly [string, Child])[], shown = SHOWN): HTMLElement {
  return table(caption, rows, [
    { name: "what", cell: (row) => row[0] },
    { name: "value", cell: (row) => row[1] },
  ], shown);
}
