// Bars in rows over time.

import { picture, s, type Child } from "./dom";
import * as format from "./format";

const HIGH = 18;

/** What a row did from when to when, in ns; `critical` if the end waited for it, `kind` the class of a colour of its own. */
export interface Bar { row: string; from: number; to: number; text: string; tint: number; critical: boolean; kind?: string }

/** Draw bars in their rows over a time that ends at `end` ns. */
export function drawing(label: string, bars: readonly Bar[], rows: readonly string[], end: number, width: number): SVGSVGElement {
  const name = Math.min(rows.reduce((most, row) => Math.max(most, row.length), 0) * 7.2 + 10, width * 0.36);
  const place = (ns: number): number => name + (ns / end) * (width - name - 8);
  const height = rows.length * HIGH;
  const known = new Map(rows.map((row, index) => [row, index]));
  const marks = format.ticks(0, end, Math.max(width / 130, 2)).flatMap((ns): Child[] => [
    s("line", { class: "grid", x1: place(ns), x2: place(ns), y1: 0, y2: height }),
    s("text", { class: "tick", x: place(ns), y: height + 14, "text-anchor": ns === 0 ? "start" : ns > end * 0.93 ? "end" : "middle" }, format.time(ns)),
  ]);
  const shapes = bars.flatMap((bar): Child[] => {
    const row = known.get(bar.row);
    if (row === undefined) return [];
    const kind = bar.critical ? "critical" : (bar.kind ?? (bar.tint % 2 ? "odd" : "even"));
    const wide = Math.max(place(bar.to) - place(bar.from), 1);
    return [s("rect", { class: `bar ${kind}`, x: place(bar.from).toFixed(1), y: row * HIGH + 3, width: wide.toFixed(1), height: HIGH - 6 }, s("title", {}, bar.text))];
  });
  const names = rows.map((row, index) => s("text", { class: "row-name", x: name - 8, y: index * HIGH + 13, "text-anchor": "end" }, row));
  return picture(label, width, height + 20, ...marks, ...shapes, ...names);
}
