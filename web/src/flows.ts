// Flows: how long they took, and how much longer than alone, as distributions.

import { h, type Child } from "./dom";
import * as format from "./format";
import type { FlowClass, Run, ShownRun, Spread } from "./model";
import { plot, type Line } from "./plot";
import { figure, type Section } from "./section";
import { table } from "./table";

const POINTS = 400;

/** Return the distribution of values as a line of steps: for each, the share that is not above it. */
export function cumulative(name: string, values: readonly number[]): Line {
  const sorted = [...values].sort((a, b) => a - b);
  const step = Math.max(1, Math.floor(sorted.length / POINTS));
  const points: [number, number][] = sorted.length ? [[sorted[0] as number, 0]] : [];
  sorted.forEach((value, index) => {
    // The tail is what is looked for: it is kept whole.
    if (index % step === 0 || index >= sorted.length - 40) points.push([value, (index + 1) / sorted.length]);
  });
  return { name, points, steps: true };
}

function className(each: FlowClass): string {
  return `${format.size(each.least_bytes)} to ${format.size(each.most_bytes)}`;
}

function distribution(label: string, axis: string, write: (value: number) => string, lines: readonly Line[]): HTMLElement {
  return plot(label, lines, { name: axis, write, log: true }, { name: "share of flows", write: format.percent, from: 0, to: 1 });
}

function percentiles(lines: readonly Line[], write: (value: number) => string): HTMLElement {
  const at = (line: Line, share: number): string => {
    const point = line.points.find((each) => each[1] >= share);
    return point ? write(point[0]) : "–";
  };
  return table("Percentiles", lines, [
    { name: "flows", cell: (line) => line.name },
    ...[0.5, 0.9, 0.95, 0.99, 1].map((share) => ({ name: share === 1 ? "largest" : format.percent(share), number: true, cell: (line: Line) => at(line, share) })),
  ]);
}

function completion(run: Run): Child[] {
  const whole = run.flow_completion;
  if (!whole) return [];
  const ended = whole.flows.filter((flow) => flow.fct_us !== null);
  const groups = [{ name: "all", of: ended }, ...(whole.by_size.length > 1 ? whole.by_size.map((each) => ({ name: className(each), of: ended.filter((flow) => flow.bytes >= each.least_bytes && flow.bytes <= each.most_bytes) })) : [])].filter((group) => group.of.length > 0);
  const times = groups.map((group) => cumulative(group.name, group.of.map((flow) => (flow.fct_us as number) * 1e3)));
  const slower = groups.map((group) => cumulative(group.name, group.of.flatMap((flow) => (flow.slowdown === null ? [] : [flow.slowdown]))));
  const spread = (value: Spread | null, part: keyof Spread, write: (value: number) => string): string => (value ? write(value[part]) : "–");
  const us = (value: number): string => format.time(value * 1e3);
  return [
    h("p", {}, `${format.count(whole.all.finished)} of ${format.count(whole.all.count)} flows ended; sizes: ${whole.sizes}${whole.load ? `; load ${Object.entries(whole.load).map(([name, value]) => `${name.replaceAll("_", " ")} ${format.percent(value)}`).join(", ")}` : ""}.`),
    ended.length > 0 && figure("Flow completion times: which share of flows took no longer.", distribution("Distribution of flow completion times", "flow completion time", format.time, times), () => percentiles(times, format.time)),
    ended.length > 0 && figure("Slowdown: the time of a flow divided by what it would have taken in an empty network.", distribution("Distribution of slowdowns", "slowdown", (value) => format.digits(value), slower), () => percentiles(slower, (value) => format.digits(value))),
    table("Flows by size", [...whole.by_size, { ...whole.all, isAll: true }], [
      { name: "size", cell: (row) => ("isAll" in row ? "all" : className(row)), key: (row) => row.least_bytes },
      { name: "flows", number: true, cell: (row) => format.count(row.count), key: (row) => row.count },
      { name: "ended", number: true, cell: (row) => format.count(row.finished), mark: (row) => (row.finished < row.count ? "bad" : "") },
      { name: "FCT, mean", number: true, cell: (row) => spread(row.fct_us, "mean", us) },
      { name: "FCT, 99 %", number: true, cell: (row) => spread(row.fct_us, "p99", us) },
      { name: "slowdown, mean", number: true, cell: (row) => spread(row.slowdown, "mean", format.digits) },
      { name: "slowdown, 99 %", number: true, cell: (row) => spread(row.slowdown, "p99", format.digits) },
      { name: "slowdown, largest", number: true, cell: (row) => spread(row.slowdown, "max", format.digits) },
    ]),
    table("Flows one by one", whole.flows, [
      { name: "from", cell: (row) => row.src, key: (row) => row.src },
      { name: "to", cell: (row) => row.dst, key: (row) => row.dst },
      { name: "size", number: true, cell: (row) => format.bytes(row.bytes), key: (row) => row.bytes },
      { name: "began", number: true, cell: (row) => us(row.start_us), key: (row) => row.start_us },
      { name: "took", number: true, cell: (row) => (row.fct_us === null ? "not finished" : us(row.fct_us)), key: (row) => row.fct_us ?? Infinity, mark: (row) => (row.fct_us === null ? "bad" : "") },
      { name: "alone", number: true, cell: (row) => us(row.alone_us), key: (row) => row.alone_us },
      { name: "slowdown", number: true, cell: (row) => (row.slowdown === null ? "–" : format.digits(row.slowdown)), key: (row) => row.slowdown ?? Infinity },
    ], 12),
  ];
}

/** Return the section of flows; null where there are none. */
export function flowsSection({ run }: ShownRun): Section | null {
  const body = completion(run);
  if (!body.length && run.flows.length) {
    const ended = run.flows.filter((flow) => flow.completion_ns !== null);
    const lasted = ended.map((flow) => (flow.duration_ns ?? (flow.completion_ns as number) - flow.start_ns) / flow.iterations);
    const lines = [cumulative("all", lasted)];
    if (ended.length > 3) body.push(figure("How long it took ranks to send to each other: which share took no longer.", distribution("Distribution of the times of flows", "time from the first message to the last byte's arrival", format.time, lines), () => percentiles(lines, format.time)));
    body.push(table("Flows between ranks", run.flows, [
      { name: "from", cell: (row) => row.src, key: (row) => row.src },
      { name: "to", cell: (row) => row.dst, key: (row) => row.dst },
      { name: "bytes", number: true, cell: (row) => format.bytes(row.bytes), key: (row) => row.bytes },
      { name: "began", number: true, cell: (row) => format.time(row.start_ns), key: (row) => row.start_ns },
      { name: "ended", number: true, cell: (row) => (row.completion_ns === null ? "not finished" : format.time(row.completion_ns)), key: (row) => row.completion_ns ?? Infinity, mark: (row) => (row.completion_ns === null ? "bad" : "") },
      { name: "goodput", number: true, cell: (row) => format.rate(row.goodput_bps), key: (row) => row.goodput_bps },
    ], 12));
  }
  return body.length ? { id: "flows", title: "Flows", body } : null;
}
