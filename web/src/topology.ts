// The lab as a picture: links coloured by how much they carried, ports by how long they were paused, over time.

import { button, choice, h, picture, s, uniqueId, type Child } from "./dom";
import * as format from "./format";
import { at, duration, type Changes, type Fabric, type FabricLink, type Interval, type LinkFacts, type ShownRun } from "./model";
import { figure, type Section } from "./section";
import { legend, level } from "./shares";
import { table } from "./table";

const STEPS = 240;
const PORT_AWAY = 24;
const NAMED = 4;
type Point = [number, number];

/** What the two directions of a link carried and for how long their ports were paused, as shares; null where unknown. */
export interface Load { link: number; carried: [number | null, number | null]; paused: [number, number] }

/** Return the corners of a path of the commands M, L, C, V and H. */
function corners(path: string): Point[] {
  const found: Point[] = [];
  for (const [, letter, text] of path.matchAll(/([MLCVH])([^MLCVH]*)/g)) {
    const numbers = (text ?? "").trim().split(/[ ,]+/).map(Number);
    const [x, y] = found.at(-1) ?? [0, 0];
    if (letter === "V") found.push([x, numbers[0] ?? y]);
    else if (letter === "H") found.push([numbers[0] ?? x, y]);
    else for (let index = 0; index + 1 < numbers.length; index += 2) found.push([numbers[index] as number, numbers[index + 1] as number]);
  }
  return found;
}

function along(from: Point, to: Point, away: number, most = 0.4): Point {
  const length = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
  const share = Math.min(away / length, most);
  return [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share];
}

/** Return a place on a cubic curve, at a share of its parameter. */
function onCurve(points: readonly Point[], share: number): Point {
  const weights = [(1 - share) ** 3, 3 * (1 - share) ** 2 * share, 3 * (1 - share) * share ** 2, share ** 3];
  const sum = (axis: 0 | 1): number => weights.reduce((total, weight, index) => total + weight * (points[index] as Point)[axis], 0);
  return [sum(0), sum(1)];
}

/** Return the middle of a link, where its name stands. */
function middle(link: FabricLink): Point {
  const points = corners(link.path);
  if (link.path.includes("C")) return onCurve(points, 0.5);
  return along(points[0] as Point, points[1] as Point, Infinity, 0.5);
}

/** Return where the dots of a link's ports are, that of `a` first. */
function portPlaces(link: FabricLink): [Point, Point] {
  const points = corners(link.path);
  const isCurve = link.path.includes("C");
  const first = isCurve ? onCurve(points, 0.12) : along(points[0] as Point, points[1] as Point, PORT_AWAY);
  const last = isCurve ? onCurve(points, 0.88) : along(points.at(-1) as Point, points.at(-2) as Point, PORT_AWAY);
  return link.from === link.a ? [first, last] : [last, first];
}

function pausedShare(intervals: readonly Interval[], from: number, to: number): number {
  let paused = 0;
  for (const each of intervals) paused += Math.max(0, Math.min(to, (each.to_ps ?? Infinity) / 1e3) - Math.max(from, each.from_ps / 1e3));
  return to > from ? Math.min(paused / (to - from), 1) : 0;
}

/** What is known of the links of a run: of all its time, and of parts of it. */
class Loads {
  readonly end: number;
  readonly known: number;
  readonly hasSeries: boolean;
  private readonly intervals = new Map<string, Interval[]>();
  private readonly sent = new Map<string, Changes[]>();

  constructor(private readonly shown: ShownRun, private readonly links: readonly FabricLink[]) {
    const { pauses } = shown.run;
    this.end = duration(shown.run);
    // Of too many pauses the earliest are listed: later nothing is known but sums.
    this.known = pauses?.omitted ? (pauses.intervals.at(-1)?.from_ps ?? 0) / 1e3 : this.end;
    for (const each of shown.run.pauses?.intervals ?? []) {
      const list = this.intervals.get(each.port) ?? [];
      list.push(each);
      this.intervals.set(each.port, list);
    }
    for (const column of shown.series?.columns ?? []) {
      if (column.quantity !== "bytes_tx") continue;
      this.sent.set(column.name, [...(this.sent.get(column.name) ?? []), column]);
    }
    this.hasSeries = this.sent.size > 0;
  }

  get hasTime(): boolean {
    return this.known > 0 && (this.hasSeries || this.intervals.size > 0);
  }

  whole(): Load[] {
    return this.links.map((link, index) => ({ link: index, carried: [this.carried(link.a), this.carried(link.b)], paused: [this.paused(link.a), this.paused(link.b)] }));
  }

  between(from: number, to: number): Load[] {
    return this.links.map((link, index) => ({
      link: index,
      carried: this.hasSeries ? [this.carriedBetween(link.a, from, to), this.carriedBetween(link.b, from, to)] : [null, null],
      paused: [pausedShare(this.intervals.get(link.a) ?? [], from, to), pausedShare(this.intervals.get(link.b) ?? [], from, to)],
    }));
  }

  private carried(port: string): number | null {
    const facts = this.shown.run.ports[port];
    if (!facts || !this.end) return null;
    const sent = Object.values(facts.priorities).reduce((total, each) => total + each.bytes_tx, 0);
    return Math.min((sent * 8) / (facts.rate_bps * this.end * 1e-9), 1);
  }

  private paused(port: string): number {
    const all = Object.values(this.shown.run.ports[port]?.priorities ?? {});
    const longest = all.reduce((most, each) => Math.max(most, each.paused_ns), 0);
    return this.end ? Math.min(longest / this.end, 1) : 0;
  }

  private carriedBetween(port: string, from: number, to: number): number | null {
    const facts = this.shown.run.ports[port];
    const { series } = this.shown;
    if (!facts || !series) return null;
    const first = Math.floor(from / series.period_ns);
    const last = Math.max(first + 1, Math.ceil(to / series.period_ns));
    const sent = (this.sent.get(port) ?? []).reduce((total, each) => total + at(each, last) - at(each, first), 0);
    return Math.min((sent * 8) / (facts.rate_bps * (last - first) * series.period_ns * 1e-9), 1);
  }
}

/** Write what a link is. */
export function linkText(link: LinkFacts): string {
  const profile = link.optics?.["profile"];
  const parts = [typeof profile === "string" ? profile : format.rate(link.rate_bps)];
  parts.push(link.length_m === null ? format.time(link.delay_ns) : format.metres(link.length_m));
  const loss = Math.max(...link.frame_loss, 0);
  if (loss > 0) parts.push(`loss ${format.digits(loss)}`);
  if (!link.carrier) parts.push("down");
  return parts.join(", ");
}

/** Set an attribute where it is another than before. */
function set(element: Element | undefined, name: string, value: string): void {
  if (element && element.getAttribute(name) !== value) element.setAttribute(name, value);
}

/** The picture, whose colours are set anew for each time. */
export class Drawing {
  readonly element: SVGSVGElement;
  private readonly halves: [SVGPathElement, SVGPathElement][] = [];
  private readonly dots: [SVGCircleElement, SVGCircleElement][] = [];
  private readonly titles: SVGTitleElement[] = [];
  private readonly groups: SVGGElement[] = [];
  private readonly nodes = new Map<string, SVGGElement>();

  constructor(private readonly fabric: Fabric, private readonly facts: readonly LinkFacts[], lab: string) {
    const links = fabric.links.map((link, index) => this.link(link, index));
    const dots = fabric.links.map((link) => this.ports(link));
    const hosts = fabric.nodes.filter((node) => node.kind === "host").length;
    const label = `Lab ${lab}: ${hosts} hosts, ${fabric.nodes.length - hosts} switches, ${fabric.links.length} links`;
    this.element = picture(label, fabric.width, fabric.height, ...this.frames(), ...links, ...fabric.nodes.map((node) => this.node(node)), ...dots, ...this.names());
    this.element.classList.add("fabric");
    this.element.style.setProperty("max-width", `${Math.max(fabric.width * 1.4, 420)}px`);
    // Names stay readable on a phone; what is wider scrolls.
    this.element.style.setProperty("min-width", `${Math.min(fabric.width * 0.75, 560)}px`);
  }

  private frames(): Child[] {
    return this.fabric.frames.flatMap((frame) => [
      s("rect", { class: `frame ${frame.kind}`, x: frame.left, y: frame.top, width: frame.width, height: frame.height, rx: 10 }),
      s("text", { class: "frame-name", x: frame.left + 10, y: frame.top + frame.height - 7 }, frame.name),
    ]);
  }

  /** Return the names of links between switches, where they are few enough to be read. */
  private names(): Child[] {
    const kinds = new Map(this.fabric.nodes.map((node) => [node.name, node.kind]));
    const isInner = (link: FabricLink): boolean => [link.a, link.b].every((end) => kinds.get(end.slice(0, end.lastIndexOf(":"))) === "switch");
    const inner = this.fabric.links.map((link, index) => ({ link, index })).filter(({ link }) => isInner(link));
    const placed: { x: number; y: number; wide: number }[] = [];
    return (inner.length > NAMED ? [] : inner).map(({ link, index }) => {
      const [x, y] = middle(link);
      const text = linkText(this.facts[index] as LinkFacts);
      const wide = text.length * 6.5;
      if (placed.some((each) => Math.abs(each.x - x) < (each.wide + wide) / 2 && Math.abs(each.y - y) < 16)) return null;
      placed.push({ x, y, wide });
      return s("text", { class: "link-name", x: x.toFixed(1), y: (y + 4).toFixed(1) }, text);
    });
  }

  private node(node: Fabric["nodes"][number]): SVGGElement {
    const { box } = this.fabric;
    const group = s("g", { class: `node ${node.kind}` },
      s("rect", { x: node.x - node.w / 2, y: node.y - box / 2, width: node.w, height: box, rx: node.kind === "host" ? 10 : 3 }),
      s("text", { x: node.x, y: node.y + 4 }, node.name));
    this.nodes.set(node.name, group);
    return group;
  }

  /** Draw a link as two halves: each end's is what that end sends. */
  private link(link: FabricLink, index: number): SVGGElement {
    const forward = link.from === link.a;
    const half = (first: boolean): SVGPathElement => s("path", { d: link.path, pathLength: 2, "stroke-dasharray": "1 1", "stroke-dashoffset": first ? 0 : -1 });
    const pair: [SVGPathElement, SVGPathElement] = [half(forward), half(!forward)];
    const title = s("title");
    const isDown = this.facts[index]?.carrier === false;
    const group = s("g", { class: isDown ? "link down" : "link" }, title, s("path", { d: link.path, class: "touch" }), ...pair);
    this.halves.push(pair);
    this.titles.push(title);
    this.groups.push(group);
    return group;
  }

  private ports(link: FabricLink): SVGGElement {
    const places = portPlaces(link);
    const pair = places.map(([x, y]) => s("circle", { cx: x.toFixed(1), cy: y.toFixed(1), r: 4.5, class: "p0" })) as [SVGCircleElement, SVGCircleElement];
    this.dots.push(pair);
    return s("g", { class: "ports" }, ...pair);
  }

  show(loads: readonly Load[]): void {
    for (const { link, carried, paused } of loads) {
      const ends = this.fabric.links[link] as FabricLink;
      const names = [ends.a, ends.b] as const;
      const lines = [`${ends.a} – ${ends.b}: ${linkText(this.facts[link] as LinkFacts)}`];
      for (const side of [0, 1] as const) {
        const share = carried[side];
        set(this.halves[link]?.[side], "class", share === null ? "unknown" : `u${level(share)}`);
        set(this.dots[link]?.[side], "class", `p${level(paused[side])}`);
        lines.push(`${names[side]} ${share === null ? "" : `sends ${format.percent(share)}, `}paused ${format.percent(paused[side])}`);
      }
      const title = this.titles[link];
      const text = lines.join("\n");
      if (title && title.textContent !== text) title.textContent = text;
    }
  }

  /** Let a node and its links stand out; all of them where the name is empty. */
  choose(name: string): void {
    this.element.classList.toggle("choosing", name !== "");
    const near = new Set([name]);
    this.fabric.links.forEach((link, index) => {
      const ends = [link.a, link.b].map((end) => end.slice(0, end.lastIndexOf(":")));
      const isNear = ends.includes(name);
      this.groups[index]?.classList.toggle("chosen", isNear);
      if (isNear) ends.forEach((end) => near.add(end));
    });
    for (const [each, group] of this.nodes) group.classList.toggle("chosen", near.has(each));
  }
}

/** Return buttons that enlarge a picture in its frame, which scrolls. */
export function enlargers(drawn: SVGSVGElement): Child[] {
  let scale = 1;
  const set = (to: number): void => {
    scale = Math.min(Math.max(to, 1), 16);
    drawn.style.setProperty("width", `${scale * 100}%`);
    if (scale > 1) drawn.style.setProperty("max-width", "none");
  };
  const was = drawn.style.getPropertyValue("max-width");
  return [
    button("+", () => set(scale * 1.5), { "aria-label": "Enlarge the picture" }),
    button("−", () => set(scale / 1.5), { "aria-label": "Reduce the picture" }),
    button("Whole", () => { set(1); drawn.style.setProperty("max-width", was); }),
  ];
}

function slider(loads: Loads, show: (text: string, loads: Load[]) => void): Child[] {
  const id = uniqueId("time");
  const output = h("output", { for: id }, "whole run");
  const input = h("input", { id, type: "range", min: 0, max: STEPS, value: 0, step: 1, oninput: () => moved() });
  const moved = (): void => {
    const step = Number(input.value);
    const text = step === 0 ? "whole run" : `${format.time((loads.known * (step - 1)) / STEPS)} to ${format.time((loads.known * step) / STEPS)}`;
    output.textContent = text;
    input.setAttribute("aria-valuetext", text);
    show(text, step === 0 ? loads.whole() : loads.between((loads.known * (step - 1)) / STEPS, (loads.known * step) / STEPS));
  };
  let timer = 0;
  const play = button("Play", () => {
    const stop = (): void => { clearInterval(timer); timer = 0; play.textContent = "Play"; };
    if (timer) { stop(); return; }
    play.textContent = "Stop";
    if (Number(input.value) >= STEPS) input.value = "0";
    timer = window.setInterval(() => {
      input.value = String(Number(input.value) + 1);
      moved();
      if (Number(input.value) >= STEPS) stop();
    }, 60);
  });
  return [h("label", { for: id }, "Time"), input, play, output];
}

/** Return the section with the lab; null where the result does not say what it was. */
export function topologySection(shown: ShownRun): Section | null {
  const { fabric, run } = shown;
  if (!fabric) return null;
  const loads = new Loads(shown, fabric.links);
  const drawing = new Drawing(fabric, run.links, run.lab);
  drawing.show(loads.whole());
  const controls: Child[] = [...(loads.hasTime ? slider(loads, (_, now) => drawing.show(now)) : []), ...pictureControls(drawing, fabric)];
  const sentence = "Each half of a link has the colour of what its end sends, as a share of the rate; a dot is a port that was paused."
    + (loads.hasTime && !loads.hasSeries ? " Over time pauses alone are known, and not what links carry." : "")
    + (loads.hasTime && loads.known < loads.end ? ` Pauses are listed until ${format.time(loads.known)} of ${format.time(loads.end)}.` : "");
  const body: Child[] = [
    figure(sentence, framed(drawing), () => linkTable("Links by direction, over the whole run", run.links, loads.whole(), fabric), ...controls), legends(),
  ];
  return { id: "topology", title: "Topology", body };
}

/** Return a choice of the node that stands out, and buttons that enlarge the picture. */
export function pictureControls(drawing: Drawing, fabric: Fabric): Child[] {
  const names = fabric.nodes.map((node) => node.name);
  return [choice("Node", ["all", ...names], 0, (index) => drawing.choose(index === 0 ? "" : (names[index - 1] as string))), ...enlargers(drawing.element)];
}

/** Put the picture into a frame that scrolls. */
export const framed = (drawing: Drawing): HTMLElement => h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Picture of the lab" }, drawing.element);

/** Make the legends of the colours of links and ports. */
export const legends = (): HTMLElement => h("p", { class: "legends" }, legend("u", "Carried"), legend("p", "Paused"));

/** Make the table of what each direction of each link carried. */
export function linkTable(caption: string, links: readonly LinkFacts[], loads: readonly Load[], fabric: Fabric): HTMLElement {
  const rows = loads.flatMap((load) => {
    const link = fabric.links[load.link] as FabricLink;
    const what = linkText(links[load.link] as LinkFacts);
    return ([0, 1] as const).map((side) => ({ from: side ? link.b : link.a, to: side ? link.a : link.b, what, carried: load.carried[side], paused: load.paused[side] }));
  });
  return table(caption, rows, [
    { name: "from", cell: (row) => row.from, key: (row) => row.from },
    { name: "to", cell: (row) => row.to, key: (row) => row.to },
    { name: "link", cell: (row) => row.what, key: (row) => row.what },
    { name: "carried", number: true, cell: (row) => (row.carried === null ? "–" : format.percent(row.carried)), key: (row) => row.carried ?? -1 },
    { name: "paused", number: true, cell: (row) => format.percent(row.paused), key: (row) => row.paused },
  ]);
}
