// Pauses of the chosen lab as lanes that scroll: each look has the colour of the share for which a port was paused.

import { button, choice, h } from "../dom";
import * as format from "../format";
import { figure, sectionElement } from "../section";
import { legend, level } from "../shares";
import { axisMarks, path, stripPicture } from "../strips";
import { table } from "../table";
import type { Shown } from "./overview";
import { Refreshed, say } from "./parts";
import type { Lab, PortPriority } from "./store";
import type { Part } from "./work";

const LANES = 16;
const TABLE_MS = 2_000;
/** How much is seen, in ms, and how often it is drawn: by a step of some pixels. */
export const WINDOWS = [["30 s", 30_000], ["2 min", 120_000], ["10 min", 600_000]] as const;
const STEPS = 300;

/** Write how long ago something was. */
export const ago = (ms: number): string => (ms > -1 ? "now" : `−${Math.round(-ms / 1000)} s`);

type Span = { from_ps: number; to_ps: number };
interface Lane { strip: HTMLElement; row: HTMLElement }

/** Return the spans of a window by their level of the colours, and the share of it that was paused. */
function spansOf(each: PortPriority, from: number, to: number): { spans: Map<number, Span[]>; share: number } {
  const spans = new Map<number, Span[]>();
  let sum = 0;
  each.ring.since(from, (start, end, _rate, paused) => {
    if (!paused) return;
    sum += paused * (Math.min(end, to) - Math.max(start, from));
    const step = Math.max(level(paused), 1);
    const list = spans.get(step);
    const last = list?.at(-1);
    if (last?.to_ps === start) last.to_ps = end;
    else if (list) list.push({ from_ps: start, to_ps: end });
    else spans.set(step, [{ from_ps: start, to_ps: end }]);
  });
  return { spans, share: Math.min(sum / (to - from), 1) };
}

/** Return the part with the lanes. */
export function pausesPart(): Part<Shown> {
  let [shown, window] = [LANES, WINDOWS[0][1] as number];
  let lanes = new Map<string, Lane>();
  let [drawnLab, order, tableAt]: [Lab | null, string, number] = [null, "", 0];
  const body = h("div", { class: "lanes" });
  const axis = h("div", { class: "time-axis", "aria-hidden": "true" });
  const quiet = h("p", {}, "No port was paused in this time.");
  const more = button("", () => { shown = Infinity; });
  const rows = new Refreshed(() => pauseTable(drawnLab, window, performance.now()));
  const part: Part<Shown> = { element: h("section"), everyMs: window / STEPS, draw };
  const controls = [choice("Time shown", WINDOWS.map((each) => each[0]), 0, (index) => {
    window = WINDOWS[index]?.[1] ?? window;
    part.everyMs = window / STEPS;
    marks();
  })];

  function marks(): void {
    axis.replaceChildren(...axisMarks(-window, 0, ago));
  }

  function lane(each: PortPriority): Lane {
    const strip = h("div", { class: "strip", role: "img" });
    return { strip, row: h("div", { class: "lane" }, h("span", { class: "lane-name" }, `${each.port} · ${each.priority}`), strip) };
  }

  function draw({ lab }: Shown, now: number): void {
    if (lab !== drawnLab) [drawnLab, lanes, shown, order] = [lab, new Map<string, Lane>(), LANES, ""];
    const from = now - window;
    const seen = [...(lab?.ports ?? [])].filter(([, each]) => each.pausedAt > from);
    // A lane keeps its place for as long as it has something.
    for (const key of lanes.keys()) if (!seen.some(([each]) => each === key)) lanes.delete(key);
    for (const [key, each] of seen) if (!lanes.has(key) && lanes.size < shown) lanes.set(key, lane(each));
    const present = [...lanes.keys()].join() + String(seen.length);
    if (present !== order) {
      order = present;
      const hidden = seen.length - lanes.size;
      say(more, `Show ${hidden} more lanes`);
      body.replaceChildren(...[...lanes.values()].map((each) => each.row), ...(hidden > 0 ? [more] : []));
      quiet.hidden = lanes.size > 0;
      axis.hidden = !quiet.hidden;
    }
    for (const [key, each] of lanes) {
      const port = lab?.ports.get(key);
      if (!port) continue;
      const { spans, share } = spansOf(port, from, now);
      each.strip.replaceChildren(stripPicture([...spans].map(([step, list]) => [`p${step}`, path(list, from, now)])));
      each.strip.setAttribute("aria-label", `${port.port}, priority ${port.priority}: paused for ${format.percent(share)} of this time`);
    }
    if (now - tableAt < TABLE_MS) return;
    tableAt = now;
    rows.refresh();
  }

  marks();
  const drawn = h("div", {}, body, quiet, axis);
  const sentence = "Each lane is a port and priority that was paused; its colour is the share of nominal time for which it stood still between two looks. Time goes by wall clock, to the right.";
  part.element = sectionElement({ id: "pauses", title: "Pauses", body: [figure(sentence, drawn, () => rows.open(), ...controls), h("p", { class: "legends" }, legend("p", "Paused"))] }, "");
  return part;
}

function pauseTable(lab: Lab | null, window: number, now: number): HTMLElement {
  const rows = [...(lab?.ports.values() ?? [])].filter((each) => each.now.pausedNs > 0 || each.now.paused)
    .map((each) => ({ each, share: spansOf(each, now - window, now).share }));
  return table("Ports that were paused", rows, [
    { name: "port", cell: ({ each }) => each.port, key: ({ each }) => each.port },
    { name: "priority", number: true, cell: ({ each }) => each.priority },
    { name: "paused now", cell: ({ each }) => (each.now.paused ? "yes" : "no"), key: ({ each }) => Number(each.now.paused) },
    { name: "of the time shown", number: true, cell: ({ share }) => format.percent(share), key: ({ share }) => share },
    { name: "nominal time in sum", number: true, cell: ({ each }) => format.time(each.now.pausedNs), key: ({ each }) => each.now.pausedNs },
  ]);
}
