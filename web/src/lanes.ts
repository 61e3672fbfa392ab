// Pauses as swim lanes: a lane a port and priority, an arrow from a pause to what caused it, and its tree down to the root.

import { button, h, s, type Child } from "./dom";
import * as format from "./format";
import { drawing, type Bar } from "./gantt";
import { duration, type Interval, type Root, type Run, type ShownRun } from "./model";
import { responsive } from "./responsive";
import { figure, paragraph, type Section } from "./section";
import { axisMarks, path, stripPicture } from "./strips";
import { table } from "./table";

const LANES = 40;
const DEPTH = 16;
/** Colours of reasons; what is not known has one of its own. */
const COLOURS = new Map([
  ["slow receiver", 1], ["incast", 0], ["storm", 4], ["failed link", 3], ["deadlock", 4], ["headroom", 6], ["distance", 2], ["drained", 5], ["slow link", 1], ["credits", 2],
  ["other priorities", 3],
]);
const UNKNOWN = "not known";

interface Lane { port: string; priority: number; indices: number[]; paused: number; strip: HTMLButtonElement }

/** Return the colour of a pause by the reason of its root. */
const kind = (reason: string): string => `s${COLOURS.get(reason) ?? 7}`;

class Lanes {
  readonly element: HTMLElement;
  private readonly overlay = s("svg", { class: "arrows", "aria-hidden": "true" });
  private readonly status = h("p", { class: "status", role: "status" }, "Point at a pause, or go to a lane and press the arrow keys; Enter shows what led to it.");
  private readonly tree = h("div", { class: "tree" });
  private readonly axis = h("div", { class: "time-axis", "aria-hidden": "true" });
  private readonly lanes: Lane[] = [];
  private readonly body: HTMLElement;
  private readonly end: number;
  private readonly begin: number;
  private from: number;
  private to: number;
  private chosen = -1;

  constructor(private readonly intervals: readonly Interval[], private readonly roots: readonly Root[]) {
    this.begin = intervals.reduce((low, each) => Math.min(low, each.from_ps), Infinity);
    this.end = intervals.reduce((high, each) => Math.max(high, each.to_ps ?? each.from_ps), -Infinity);
    if (this.end <= this.begin) this.end = this.begin + 1;
    [this.from, this.to] = [this.begin, this.end];
    const byLane = new Map<string, number[]>();
    intervals.forEach((each, index) => {
      const key = `${each.port} ${each.priority}`;
      byLane.set(key, [...(byLane.get(key) ?? []), index]);
    });
    for (const indices of byLane.values()) this.lanes.push(this.lane(indices));
    // The order in which they stood still first is that in which a pause spread.
    this.lanes.sort((a, b) => this.at(a.indices[0]).from_ps - this.at(b.indices[0]).from_ps);
    this.body = h("div", { class: "lanes" });
    this.show(LANES);
    this.element = h("div", {}, this.body, this.axis, this.status, this.tree);
    this.draw();
  }

  private at(index: number | undefined): Interval {
    return this.intervals[index ?? 0] as Interval;
  }

  private show(count: number): void {
    const rows = this.lanes.slice(0, count).map((lane) => h("div", { class: "lane" }, h("span", { class: "lane-name" }, `${lane.port} · ${lane.priority}`), lane.strip));
    const hidden = this.lanes.length - rows.length;
    const more = hidden > 0 ? button(`Show ${hidden} more lanes`, () => this.show(this.lanes.length)) : null;
    this.body.replaceChildren(...rows, this.overlay, ...(more ? [more] : []));
  }

  private lane(indices: number[]): Lane {
    const { port, priority } = this.at(indices[0]);
    const paused = indices.reduce((total, index) => total + (this.at(index).to_ps ?? this.end) - this.at(index).from_ps, 0);
    const label = `${port}, priority ${priority}: ${indices.length} pauses, ${format.time(paused / 1e3)} in sum`;
    const strip = h("button", { type: "button", class: "strip", "aria-label": label });
    const lane = { port, priority, indices, paused, strip };
    strip.addEventListener("pointermove", (event) => this.choose(this.nearest(lane, event)));
    strip.addEventListener("pointerleave", () => this.clear());
    strip.addEventListener("focus", () => { if (!indices.includes(this.chosen)) this.choose(this.first(lane)); });
    strip.addEventListener("blur", () => this.clear());
    strip.addEventListener("click", () => this.open(indices.includes(this.chosen) ? this.chosen : this.first(lane)));
    strip.addEventListener("keydown", (event) => this.key(event, lane));
    return lane;
  }

  private first(lane: Lane): number {
    return lane.indices.find((index) => (this.at(index).to_ps ?? this.end) >= this.from) ?? (lane.indices[0] as number);
  }

  private key(event: KeyboardEvent, lane: Lane): void {
    const place = lane.indices.indexOf(this.chosen);
    const step = { ArrowRight: 1, ArrowLeft: -1, Home: -Infinity, End: Infinity }[event.key];
    if (step === undefined) return;
    event.preventDefault();
    this.choose(lane.indices[Math.min(Math.max(place + step, 0), lane.indices.length - 1)] as number);
  }

  private nearest(lane: Lane, event: PointerEvent): number {
    const box = lane.strip.getBoundingClientRect();
    const at = this.from + ((event.clientX - box.left) / box.width) * (this.to - this.from);
    const away = (index: number): number => Math.max(this.at(index).from_ps - at, at - (this.at(index).to_ps ?? this.end), 0);
    return lane.indices.reduce((best, index) => (away(index) < away(best) ? index : best));
  }

  private clear(): void {
    this.chosen = -1;
    this.overlay.replaceChildren();
  }

  private choose(index: number): void {
    if (index === this.chosen) return;
    this.chosen = index;
    const interval = this.at(index);
    this.status.textContent = this.sentence(interval);
    const own = this.box(index);
    const parts: Child[] = [];
    if (own) parts.push(s("rect", { class: "chosen", ...own }));
    for (const [cause, share] of interval.causes.slice(0, 12)) {
      const other = this.box(cause);
      if (!own || !other) continue;
      parts.push(s("rect", { class: "cause", ...other }), ...arrow(own, other, share));
    }
    this.overlay.replaceChildren(...parts.filter((part): part is SVGElement => part instanceof SVGElement));
  }

  /** Return where an interval is drawn, in pixels of the lanes; null where it is not seen. */
  private box(index: number): Record<"x" | "y" | "width" | "height", number> | null {
    const interval = this.at(index);
    const lane = this.lanes.find((each) => each.port === interval.port && each.priority === interval.priority);
    if (!lane?.strip.isConnected) return null;
    const [whole, strip] = [this.body.getBoundingClientRect(), lane.strip.getBoundingClientRect()];
    const place = (ps: number): number => Math.min(Math.max((ps - this.from) / (this.to - this.from), 0), 1) * strip.width;
    const left = place(interval.from_ps);
    const width = Math.max(place(interval.to_ps ?? this.end) - left, 2);
    return { x: strip.left - whole.left + left, y: strip.top - whole.top, width, height: strip.height };
  }

  private sentence(interval: Interval): string {
    const until = interval.to_ps === null ? "to the end" : `to ${format.time(interval.to_ps / 1e3)}, for ${format.time((interval.to_ps - interval.from_ps) / 1e3)}`;
    const causes = interval.causes.slice(0, 3).map(([index, share]) => `${this.at(index).port} (${format.percent(share)})`);
    const why = [...(causes.length ? [`behind ${causes.join(", ")}`] : []), ...(interval.reason ? [interval.reason] : [])].join("; ");
    return `${interval.port} priority ${interval.priority} was paused by ${interval.by} from ${format.time(interval.from_ps / 1e3)} ${until}${why ? `: ${why}` : ""}.`;
  }

  /** Show the causes of a pause, theirs, and so on down to the root. */
  private open(index: number): void {
    const root = this.rootOf(index);
    const parts: Child[] = [h("h3", {}, "What led to it"), h("ul", {}, this.branch(index, 1, new Set()))];
    if (root) parts.push(paragraph(root.sentence, "root"));
    this.tree.replaceChildren(...parts.filter((part): part is HTMLElement => part instanceof HTMLElement));
    this.tree.setAttribute("tabindex", "-1");
    this.tree.scrollIntoView({ block: "nearest" });
  }

  private branch(index: number, share: number, seen: ReadonlySet<number>): HTMLElement {
    const interval = this.at(index);
    const text = `${share < 1 ? `${format.percent(share)}: ` : ""}${this.sentence(interval)}`;
    if (seen.has(index)) return h("li", {}, `${interval.port} again: they wait for each other in a circle.`);
    if (seen.size >= DEPTH) return h("li", {}, "… and further");
    const below = new Set([...seen, index]);
    const deeper = interval.causes.slice(0, 6).map(([cause, part]) => this.branch(cause, part, below));
    const end = !deeper.length && interval.reason ? h("strong", { class: "reason" }, ` Root: ${interval.reason} at ${interval.by}.`) : null;
    return h("li", {}, text, end, deeper.length > 0 && h("ul", {}, ...deeper));
  }

  private rootOf(index: number): Root | undefined {
    const known = this.at(index).root;
    return known === null || known === undefined ? undefined : this.roots[known];
  }

  private draw(): void {
    for (const lane of this.lanes) {
      const byKind = new Map<string, Interval[]>();
      for (const index of lane.indices) {
        const name = kind(reasonOf(this.at(index), this.roots));
        byKind.set(name, [...(byKind.get(name) ?? []), this.at(index)]);
      }
      lane.strip.replaceChildren(stripPicture([...byKind].map(([name, list]) => [`pause ${name}`, path(list, this.from, this.to)])));
    }
    this.axis.replaceChildren(...axisMarks(this.from / 1e3, this.to / 1e3, format.time));
    this.clear();
  }

  private zoom(factor: number): void {
    const middle = this.chosen >= 0 ? this.at(this.chosen).from_ps : (this.from + this.to) / 2;
    const half = Math.min(((this.to - this.from) * factor) / 2, (this.end - this.begin) / 2);
    this.from = Math.min(Math.max(middle - half, this.begin), this.end - 2 * half);
    this.to = this.from + 2 * half;
    this.draw();
  }

  private move(share: number): void {
    const width = this.to - this.from;
    this.from = Math.min(Math.max(this.from + width * share, this.begin), this.end - width);
    this.to = this.from + width;
    this.draw();
  }

  controls(): Child[] {
    return [
      button("Earlier", () => this.move(-0.5)), button("Later", () => this.move(0.5)),
      button("Zoom in", () => this.zoom(0.5)), button("Zoom out", () => this.zoom(2)),
    ];
  }
}

function arrow(from: Record<"x" | "y" | "width" | "height", number>, to: typeof from, share: number): SVGElement[] {
  const [x1, x2] = [from.x + from.width / 2, to.x + to.width / 2];
  const [y1, y2] = [from.y + from.height / 2, to.y + to.height / 2];
  // Beside the lanes, to the right: straight down it would be hidden by what it joins.
  const bend = 26 + Math.abs(y2 - y1) * 0.25;
  const way = `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 + bend} ${y2} ${x2 + 3} ${y2}`;
  const tip = `M${x2} ${y2}l9 -5v10z`;
  return [
    s("path", { class: "halo", d: way }), s("path", { class: "arrow", d: way, "stroke-width": 1.5 + 2 * share }),
    s("path", { class: "tip", d: tip }), s("circle", { class: "tip", cx: x1, cy: y1, r: 3 }),
  ];
}


/** Return why a pause came to be, at its root. */
function reasonOf(interval: Interval, roots: readonly Root[]): string {
  const root = interval.root === null || interval.root === undefined ? undefined : roots[interval.root];
  return root?.reason ?? interval.reason ?? UNKNOWN;
}

function legend(intervals: readonly Interval[], roots: readonly Root[]): HTMLElement {
  const reasons = [...new Set([...intervals.map((each) => reasonOf(each, roots)), ...roots.map((root) => root.reason)])];
  return h("p", { class: "legend" }, "Reason at the root: ", ...reasons.map((reason) => h("span", { class: "step" }, h("i", { class: `swatch ${kind(reason)}` }), reason)));
}

/** Return when each root held up ports, of which single pauses may be too many to be listed. */
function rootBars(roots: readonly Root[], end: number): Bar[] {
  return roots.map((root) => ({
    row: `${root.at} · ${root.reason}`, from: Math.max(root.from_ps / 1e3, 0), to: root.to_ps === null ? end : root.to_ps / 1e3, tint: 0, critical: false,
    kind: kind(root.reason), text: root.sentence,
  }));
}

function rootTable(run: Run): HTMLElement {
  return table("Roots of pauses", run.pauses?.roots ?? [], [
    { name: "at", cell: (row) => row.at, key: (row) => row.at },
    { name: "reason", cell: (row) => row.reason, key: (row) => row.reason },
    { name: "priority", number: true, cell: (row) => row.priority },
    { name: "from", number: true, cell: (row) => format.time(row.from_ps / 1e3), key: (row) => row.from_ps },
    { name: "to", number: true, cell: (row) => (row.to_ps === null ? "the end" : format.time(row.to_ps / 1e3)), key: (row) => row.to_ps ?? Infinity },
    { name: "ports", number: true, cell: (row) => row.ports.length, key: (row) => row.ports.length },
    { name: "paused in sum", number: true, cell: (row) => format.time(row.paused_ps / 1e3), key: (row) => row.paused_ps },
    { name: "victims", number: true, cell: (row) => row.victims.flows, key: (row) => row.victims.flows },
    { name: "what happened", cell: (row) => row.sentence },
  ]);
}

function intervalTable(intervals: readonly Interval[]): HTMLElement {
  return table("Pauses", intervals, [
    { name: "port", cell: (row) => row.port, key: (row) => row.port },
    { name: "priority", number: true, cell: (row) => row.priority },
    { name: "from", number: true, cell: (row) => format.time(row.from_ps / 1e3), key: (row) => row.from_ps },
    { name: "for", number: true, cell: (row) => (row.to_ps === null ? "to the end" : format.time((row.to_ps - row.from_ps) / 1e3)), key: (row) => (row.to_ps ?? Infinity) - row.from_ps },
    { name: "paused by", cell: (row) => row.by, key: (row) => row.by },
    { name: "behind", cell: (row) => row.causes.map(([cause, share]) => `${intervals[cause]?.port ?? "?"} (${format.percent(share)})`).join(", ") || "–" },
    { name: "reason", cell: (row) => row.reason ?? "–", key: (row) => row.reason ?? "" },
  ]);
}

/** Return the section of pauses; null where the result does not tell them one by one, and where there were none. */
export function lanesSection({ run }: ShownRun): Section | null {
  const { pauses } = run;
  if (!pauses) return null;
  if (!pauses.intervals.length) return { id: "pauses", title: "Pauses", body: [paragraph("No port was paused.")] };
  const lanes = new Lanes(pauses.intervals, pauses.roots);
  const left = pauses.omitted ? ` ${format.count(pauses.omitted)} later pauses are not listed one by one.` : "";
  const end = duration(run) || 1;
  const bars = rootBars(pauses.roots.slice(0, LANES), end);
  const body: Child[] = [
    bars.length > 0 && figure("When each root held up ports, from its first pause to its last: all pauses are counted here.", responsive((width) => drawing("Roots of pauses over time", bars, [...new Set(bars.map((bar) => bar.row))], end, width)), () => rootTable(run)),
    figure(`Each lane is a port and priority that was paused, in the order in which they stood still; the colour is the reason at the root.${left}`, lanes.element, () => intervalTable(pauses.intervals), ...lanes.controls()),
    legend(pauses.intervals, pauses.roots),
  ];
  return { id: "pauses", title: "Pauses", body };
}
