// A sweep: a map of two axes with its cliff, lines over one, parallel axes for more, winners, and every row.

import { choice, h, picture, s, type Child } from "./dom";
import * as format from "./format";
import type { ShownSweep, Sweep, SweepRow } from "./model";
import { colour, plot, type Line, type Mark } from "./plot";
import { responsive } from "./responsive";
import { figure, paragraph, type Section } from "./section";
import { table, type Column } from "./table";
import { command } from "./verdict";

interface Metric { key: string; name: string; write: (value: number) => string; better: "more" | "less" }

const us = (value: number): string => format.time(value * 1e3);
const plain = (unit: string) => (value: number): string => `${format.digits(value, 4)}${unit && ` ${unit}`}`;
const METRICS: readonly Metric[] = [
  { key: "busbw_gbytes_per_s", name: "busbw", write: plain("GB/s"), better: "more" },
  { key: "share_of_ideal", name: "of ideal", write: format.percent, better: "more" },
  { key: "time_us", name: "time", write: us, better: "less" },
  { key: "algbw_gbytes_per_s", name: "algbw", write: plain("GB/s"), better: "more" },
  { key: "dropped", name: "frames dropped", write: format.count, better: "less" },
  { key: "retransmitted", name: "sent again", write: format.count, better: "less" },
  { key: "timeouts", name: "timeouts", write: format.count, better: "less" },
  { key: "pause_frames", name: "pauses", write: format.count, better: "less" },
  { key: "paused_ns", name: "paused longest", write: format.time, better: "less" },
  { key: "queue_bytes_max", name: "queue, peak", write: format.bytes, better: "less" },
  { key: "headroom_bytes_max", name: "headroom, peak", write: format.bytes, better: "less" },
  { key: "slowdown_mean", name: "slowdown, mean", write: plain(""), better: "less" },
  { key: "slowdown_p99", name: "slowdown, 99 %", write: plain(""), better: "less" },
  { key: "watts", name: "power", write: plain("W"), better: "less" },
  { key: "nominal_pj_per_bit", name: "nominal energy", write: plain("pJ/bit"), better: "less" },
  { key: "useful_pj_per_bit", name: "useful energy", write: plain("pJ/bit"), better: "less" },
  { key: "joules_per_step", name: "energy a step", write: plain("J"), better: "less" },
  { key: "cost_per_step", name: "cost a step", write: plain(""), better: "less" },
];
const HELD = new Set(["passed"]);
const RAN = new Set(["passed", "lossy"]);

/** Return a figure of a row; null where it has none. */
function value(row: SweepRow, metric: Metric): number | null {
  if (metric.key === "dropped") {
    const drops = row.figures?.["drops"];
    return drops && typeof drops === "object" ? Object.values(drops).reduce((a, b) => a + b, 0) : null;
  }
  const found = row.figures?.[metric.key];
  return typeof found === "number" ? found : null;
}

/** Return the metrics that say something: those that some row has, and that are not 0 in all. */
function metrics(sweep: Sweep): Metric[] {
  return METRICS.filter((metric) => sweep.rows.some((row) => value(row, metric)));
}

function short(key: string, keys: readonly string[]): string {
  const last = key.slice(key.lastIndexOf(".") + 1);
  return keys.filter((each) => each.endsWith(`.${last}`) || each === last).length > 1 ? key : last;
}

/** Return whether there is a cliff between two rows: one held and the other did not. */
function isCliff(a: SweepRow | undefined, b: SweepRow | undefined): boolean {
  return a !== undefined && b !== undefined && HELD.has(a.verdict) !== HELD.has(b.verdict);
}

function mean(values: readonly number[]): number | null {
  return values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;
}

/** Rows of a sweep with two of its axes; what else varies is fixed at one value each. */
function select(sweep: Sweep, fixed: ReadonlyMap<string, string>): SweepRow[] {
  return sweep.rows.filter((row) => [...fixed].every(([key, text]) => row.settings[key] === text));
}

function heatMap(rows: readonly SweepRow[], across: [string, string[]], up: [string, string[]], metric: Metric, width: number): SVGSVGElement {
  const left = Math.min(Math.max(...up[1].map((text) => text.length)) * 7.4 + 16, width * 0.3);
  const wide = (width - left - 8) / across[1].length;
  const high = Math.min(Math.max(36, wide * 0.5), 64);
  const top = 8;
  const cell = (x: number, y: number): SweepRow | undefined => rows.find((row) => row.settings[across[0]] === across[1][x] && row.settings[up[0]] === up[1][y]);
  const all = rows.map((row) => value(row, metric)).filter((each): each is number => each !== null);
  const [low, most] = [Math.min(...all), Math.max(...all)];
  const parts: Child[] = [];
  const cliffs: Child[] = [];
  up[1].forEach((text, y) => {
    parts.push(s("text", { class: "row-name", x: left - 8, y: top + y * high + high / 2 + 4, "text-anchor": "end" }, text));
    across[1].forEach((_, x) => {
      const row = cell(x, y);
      const amount = row ? value(row, metric) : null;
      const share = amount === null || most === low ? (amount === null ? null : 1) : (amount - low) / (most - low);
      const rank = share === null ? null : Math.round((metric.better === "more" ? share : 1 - share) * 6);
      const label = amount === null ? (row?.verdict ?? "–") : metric.write(amount);
      const [px, py] = [left + x * wide, top + y * high];
      const held = row && !HELD.has(row.verdict);
      parts.push(s("g", {}, s("title", {}, row ? `${Object.entries(row.settings).map(([key, each]) => `${key} ${each}`).join(", ")}: ${label}, ${row.verdict}` : "not run"),
        s("rect", { class: rank === null ? "heat none" : `heat h${rank}`, x: px + 1, y: py + 1, width: Math.max(wide - 2, 1), height: high - 2, rx: 3 }),
        wide > label.length * 6.6 && s("text", { class: `cell h${rank ?? "n"}-text`, x: px + wide / 2, y: py + high / 2 + (held ? -2 : 4) }, label),
        held && s("text", { class: `cell small h${rank ?? "n"}-text`, x: px + wide / 2, y: py + high / 2 + 12 }, row.verdict)));
      if (isCliff(row, cell(x + 1, y))) cliffs.push(s("line", { class: "cliff", x1: px + wide, x2: px + wide, y1: py, y2: py + high }));
      if (isCliff(row, cell(x, y + 1))) cliffs.push(s("line", { class: "cliff", x1: px, x2: px + wide, y1: py + high, y2: py + high }));
    });
  });
  across[1].forEach((text, x) => parts.push(s("text", { class: "tick", x: left + (x + 0.5) * wide, y: top + up[1].length * high + 16, "text-anchor": "middle" }, text)));
  const label = `${metric.name} by ${up[0]} and ${across[0]}`;
  const element = picture(label, width, top + up[1].length * high + 24, ...parts, ...cliffs);
  element.classList.add("heat-map");
  return element;
}

/** Draw a line over one axis for each value of the others, with the cliffs of the first line marked. */
function lines(sweep: Sweep, axis: string, metric: Metric): HTMLElement {
  const places = sweep.over[axis] ?? [];
  const others = Object.keys(sweep.over).filter((key) => key !== axis && (sweep.over[key]?.length ?? 0) > 1);
  const groups = new Map<string, SweepRow[]>();
  for (const row of sweep.rows) {
    const name = others.map((key) => row.settings[key]).join(", ") || metric.name;
    groups.set(name, [...(groups.get(name) ?? []), row]);
  }
  const drawn: Line[] = [...groups].map(([name, rows]) => ({
    name, dots: true,
    points: places.flatMap((text, index) => {
      const row = rows.find((each) => each.settings[axis] === text);
      const amount = row ? value(row, metric) : null;
      return amount === null ? [] : [[index, amount] as const];
    }),
  }));
  const marks: Mark[] = places.flatMap((_, index) => {
    const falls = [...groups].filter(([, rows]) => isCliff(rows.find((row) => row.settings[axis] === places[index]), rows.find((row) => row.settings[axis] === places[index + 1])));
    return falls.length ? [{ at: index + 0.5, text: groups.size > 1 ? `cliff: ${falls.length} of ${groups.size}` : "cliff" }] : [];
  });
  const amounts = drawn.flatMap((line) => line.points.map((point) => point[1]));
  return plot(
    `${metric.name} by ${axis}`, drawn,
    { name: axis, write: (index) => places[index] ?? "", at: places.map((_, index) => index), from: -0.2, to: Math.max(places.length - 0.8, 0.2) },
    { name: metric.name, write: metric.write, from: Math.min(0, ...amounts) }, marks,
  );
}

/** Draw every row as a line across parallel axes: what varied, and figures. */
function parallel(sweep: Sweep, shown: readonly Metric[], width: number): SVGSVGElement {
  const keys = Object.keys(sweep.over).filter((key) => (sweep.over[key]?.length ?? 0) > 1);
  const height = 300;
  const [top, bottom] = [44, height - 24];
  const ways = [
    ...keys.map((key) => {
      const texts = sweep.over[key] as string[];
      const place = (row: SweepRow): number | null => (texts.indexOf(row.settings[key] ?? "") + 0.5) / texts.length;
      return { name: short(key, keys), place, ticks: texts.map((text, index): [number, string] => [(index + 0.5) / texts.length, text]) };
    }),
    ...shown.map((metric) => {
      const all = sweep.rows.map((row) => value(row, metric)).filter((each): each is number => each !== null);
      const [low, most] = [Math.min(...all), Math.max(...all)];
      const place = (row: SweepRow): number | null => {
        const amount = value(row, metric);
        return amount === null ? null : most === low ? 0.5 : (amount - low) / (most - low);
      };
      return { name: metric.name, place, ticks: [[0, metric.write(low)], [1, metric.write(most)]] as [number, string][] };
    }),
  ];
  const x = (index: number): number => 40 + (index * (width - 120)) / Math.max(ways.length - 1, 1);
  const y = (share: number): number => bottom - share * (bottom - top);
  const rows = sweep.rows.map((row, number) => {
    let text = "";
    ways.forEach((way, index) => {
      const share = way.place(row);
      if (share !== null) text += `${text ? "L" : "M"}${x(index).toFixed(1)} ${y(share).toFixed(1)}`;
    });
    return s("path", { class: `line ${HELD.has(row.verdict) ? colour(0) : RAN.has(row.verdict) ? colour(1) : colour(4)} thin`, d: text }, s("title", {}, `row ${number}: ${Object.values(row.settings).join(", ")}, ${row.verdict}`));
  });
  const axes = ways.flatMap((way, index): Child[] => [
    s("line", { class: "grid strong", x1: x(index), x2: x(index), y1: top, y2: bottom }),
    s("text", { class: "axis", x: x(index), y: index % 2 ? 12 : 28, "text-anchor": index === 0 ? "start" : index === ways.length - 1 ? "end" : "middle" }, way.name),
    ...way.ticks.map(([share, text]) => s("text", { class: "tick", x: x(index) + 5, y: y(share) + 4 }, text)),
  ]);
  const element = picture("Rows over parallel axes: what varied, and figures", width, height, ...rows, ...axes);
  element.classList.add("plot");
  return element;
}

function verdictMark(row: SweepRow): string {
  return HELD.has(row.verdict) ? "good" : "bad";
}

function rowTable(sweep: Sweep, shown: readonly Metric[]): HTMLElement {
  const keys = Object.keys(sweep.over);
  const rows = sweep.rows.map((row, number) => ({ row, number }));
  type Row = (typeof rows)[number];
  const settings: Column<Row>[] = keys.map((key) => ({ name: short(key, keys), cell: ({ row }) => row.settings[key] ?? "–", key: ({ row }) => row.settings[key] ?? "" }));
  const figures: Column<Row>[] = shown.map((metric) => ({
    name: metric.name, number: true, key: ({ row }) => value(row, metric) ?? -Infinity,
    cell: ({ row }) => { const amount = value(row, metric); return amount === null ? "–" : metric.write(amount); },
  }));
  return table("Every row", rows, [
    { name: "#", number: true, cell: ({ number }) => number, key: ({ number }) => number }, ...settings,
    { name: "verdict", cell: ({ row }) => row.verdict, mark: ({ row }) => verdictMark(row), key: ({ row }) => row.verdict }, ...figures,
    { name: "why", cell: ({ row }) => row.reasons.join("; ") || "–" },
  ], 60);
}

function bestTable(sweep: Sweep): HTMLElement {
  const others = Object.keys(sweep.over).filter((key) => !sweep.best_by.includes(key) && (sweep.over[key]?.length ?? 0) > 1);
  const settings = (number: number): string => others.map((key) => sweep.rows[number]?.settings[key] ?? "–").join(" + ");
  return table("Where each wins", sweep.best, [
    ...sweep.best_by.map((key) => ({ name: short(key, sweep.best_by), cell: (row: Sweep["best"][number]) => row.where[key] ?? "–" })),
    { name: "best", cell: (row) => (row.row === null ? "none held" : settings(row.row)), mark: (row) => (row.row === null ? "bad" : "") },
    { name: "row", number: true, cell: (row) => row.row ?? "–" },
    { name: "busbw", number: true, cell: (row) => { const best = row.row === null ? undefined : sweep.rows[row.row]; const amount = best ? value(best, METRICS[0] as Metric) : null; return amount === null ? "–" : plain("GB/s")(amount); } },
    { name: "as good within 1 %", cell: (row) => row.near.map(settings).join(", ") || "–" },
  ]);
}

function summary(sweep: Sweep): Section {
  const counts = new Map<string, number>();
  for (const row of sweep.rows) counts.set(row.verdict, (counts.get(row.verdict) ?? 0) + 1);
  const failed = sweep.rows.map((row, number) => ({ row, number })).filter(({ row }) => !RAN.has(row.verdict) && row.reasons.length);
  const isHeld = sweep.rows.every((row) => RAN.has(row.verdict));
  const words = [...counts].map(([verdict, number]) => `${number} ${verdict}`).join(", ");
  const body: Child[] = [
    h("p", { class: "verdict" }, h("strong", { class: `badge ${isHeld ? "good" : "bad"}` }, isHeld ? "HELD" : "FAILED"), ` ${sweep.rows.length} runs: ${words}`),
    failed.length > 0 && h("div", { class: "failing" }, h("h3", {}, "What failed"), h("ul", {}, ...failed.slice(0, 8).map(({ row, number }) => h("li", {}, `row ${number}: ${row.reasons[0]}`))), failed.length > 8 && paragraph(`and ${failed.length - 8} more rows`)),
    h("p", {}, `Lab ${sweep.lab}, seed ${sweep.seed}, virtual clock. This command repeats it:`), command(sweep.replay),
  ];
  if (sweep.best.length) body.push(bestTable(sweep));
  return { id: "verdict", title: "Verdict", body };
}

/** Return the picture of a sweep, with choices of the figure and of what is shown. */
function pictures(sweep: Sweep): Child[] {
  const shown = metrics(sweep);
  const keys = Object.keys(sweep.over).filter((key) => (sweep.over[key]?.length ?? 0) > 1);
  if (!shown.length || !keys.length) return [paragraph("No row came to a figure.")];
  const frame = h("div");
  const controls = h("div", { class: "controls" });
  let metric = 0;
  const fixed = new Map<string, string>();
  const [first, second] = [...keys].sort((a, b) => (sweep.over[b]?.length ?? 0) - (sweep.over[a]?.length ?? 0));
  const draw = (): void => {
    const chosen = shown[metric] as Metric;
    if (first && second) {
      const rows = select(sweep, fixed);
      frame.replaceChildren(
        responsive((width) => heatMap(rows, [first, sweep.over[first] ?? []], [second, sweep.over[second] ?? []], chosen, width)),
        h("p", { class: "axis-name" }, `across: ${first}; down: ${second}`), lines(sweep, first, chosen),
      );
    } else if (first) {
      frame.replaceChildren(lines(sweep, first, chosen));
    }
  };
  controls.append(choice("Figure", shown.map((each) => each.name), 0, (index) => { metric = index; draw(); }));
  for (const key of keys.filter((each) => each !== first && each !== second)) {
    const texts = sweep.over[key] as string[];
    fixed.set(key, texts[0] as string);
    controls.append(choice(short(key, keys), texts, 0, (index) => { fixed.set(key, texts[index] as string); draw(); }));
  }
  draw();
  const isMixed = new Set(sweep.rows.map((row) => HELD.has(row.verdict))).size > 1;
  const cliff = isMixed ? "A red edge is a cliff: all held on one side of it and not on the other." : "There is no cliff: all rows came to the same verdict.";
  const body: Child[] = [figure(second ? `The better the figure, the stronger the colour. ${cliff}` : cliff, h("div", {}, controls, frame), () => rowTable(sweep, shown))];
  if (keys.length > 2) {
    const few = shown.slice(0, 4);
    body.push(figure("Every row across parallel axes: blue held, orange lost frames, red failed.", h("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Parallel axes" }, responsive((width) => parallel(sweep, few, Math.max(width, (keys.length + few.length) * 90)))), () => rowTable(sweep, few)));
  }
  return body;
}

/** Return what is compared of energy and cost: the means over the rows by each value of an axis. */
function energy(sweep: Sweep): Section | null {
  const shown = metrics(sweep).filter((metric) => ["watts", "nominal_pj_per_bit", "useful_pj_per_bit", "joules_per_step", "cost_per_step"].includes(metric.key));
  if (!shown.length) return null;
  const rows = Object.entries(sweep.over).filter(([, texts]) => texts.length > 1).flatMap(([key, texts]) => texts.map((text) => ({ key, text, of: sweep.rows.filter((row) => row.settings[key] === text) })));
  const body: Child[] = [table("Energy and cost by setting: means over the rows", rows, [
    { name: "setting", cell: (row) => row.key, key: (row) => row.key },
    { name: "value", cell: (row) => row.text, key: (row) => row.text },
    ...shown.map((metric): Column<(typeof rows)[number]> => ({
      name: metric.name, number: true,
      cell: (row) => { const found = mean(row.of.map((each) => value(each, metric)).filter((each): each is number => each !== null)); return found === null ? "–" : metric.write(found); },
    })),
  ])];
  return { id: "energy", title: "Energy and cost", body };
}

/** Return the sections of a sweep. */
export function sweepSections({ sweep }: ShownSweep): Section[] {
  const shown = metrics(sweep);
  return [
    summary(sweep),
    { id: "figures", title: "Figures", body: pictures(sweep) },
    energy(sweep),
    { id: "rows", title: "Rows", body: [rowTable(sweep, shown)] },
  ].filter((section): section is Section => section !== null);
}
