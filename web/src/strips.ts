// Lanes over time: a strip a row with what stood still, and the marks of the time below.

import { h, s } from "./dom";
import { ticks } from "./format";
import type { Interval } from "./model";

const WIDE = 1000;
const HIGH = 16;

/** Return intervals of a lane as one path; what would be no wider than a pixel is drawn together. */
export function path(intervals: readonly Pick<Interval, "from_ps" | "to_ps">[], from: number, to: number): string {
  const scale = WIDE / (to - from);
  let text = "";
  let begun = NaN;
  let ended = -Infinity;
  const close = (): void => {
    if (!Number.isNaN(begun)) text += `M${begun.toFixed(1)} 1h${Math.max(ended - begun, 0.8).toFixed(1)}v${HIGH - 2}H${begun.toFixed(1)}z`;
  };
  for (const each of intervals) {
    const start = (each.from_ps - from) * scale;
    const end = ((each.to_ps ?? to) - from) * scale;
    if (end < 0 || start > WIDE) continue;
    if (start > ended + 0.4) {
      close();
      begun = Math.max(start, 0);
    }
    ended = Math.min(Math.max(end, ended), WIDE);
  }
  close();
  return text;
}

/** Draw paths, each with its class, as wide as the strip that they stand in. */
export function stripPicture(paths: readonly (readonly [string, string])[]): SVGSVGElement {
  const drawn = paths.map(([kind, d]) => s("path", { class: kind, d }));
  return s("svg", { viewBox: `0 0 ${WIDE} ${HIGH}`, preserveAspectRatio: "none", "aria-hidden": "true" }, ...drawn);
}

/** Make the marks of a time axis. */
export function axisMarks(from: number, to: number, write: (value: number) => string): HTMLElement[] {
  return ticks(from, to, 5).map((value) => {
    const mark = h("span", {}, write(value));
    mark.style.setProperty("left", `${((value - from) / (to - from)) * 100}%`);
    return mark;
  });
}
