// Ranks over time: the steps that each was in, or what it sent, and the way through them that the end waited for.

import { h, type Child } from "./dom";
import * as format from "./format";
import { drawing, type Bar } from "./gantt";
import { duration, type Flow, type Run, type Series, type ShownRun } from "./model";
import { responsive } from "./responsive";
import { figure, type Section } from "./section";
import { table } from "./table";

const ROWS = 64;
const BARS = 6000;

/** Return the flows of a run as bars by source; of those that follow each other to the end, the last in each is critical. */
function flowBars(run: Run): Bar[] {
  const ended = run.flows.filter((flow): flow is Flow & { completion_ns: number } => flow.completion_ns !== null);
  const critical = new Set<Flow>();
  // From the last end backwards: a rank begins when what it waited for has arrived, from whoever sent it.
  let next = ended.reduce<(typeof ended)[number] | null>((last, flow) => (!last || flow.completion_ns > last.completion_ns ? flow : last), null);
  while (next && !critical.has(next)) {
    critical.add(next);
    const begin: number = next.start_ns;
    const source: string = next.src;
    next = ended.filter((flow) => flow.completion_ns <= begin && (flow.dst === source || flow.src === source))
      .reduce<(typeof ended)[number] | null>((last, flow) => (!last || flow.completion_ns > last.completion_ns ? flow : last), null);
  }
  return ended.map((flow) => ({
    row: flow.src, from: flow.start_ns, to: flow.completion_ns, tint: 0, critical: critical.has(flow),
    text: `${flow.src} to ${flow.dst}: ${format.bytes(flow.bytes)} in ${format.time(flow.completion_ns - flow.start_ns)}`,
  }));
}

/** Return the steps of ranks as bars: each until the rank had finished one more; the last of all in a step is critical. */
function stepBars(series: Series, hosts: ReadonlyMap<string, string>): Bar[] {
  const ranks = series.columns.filter((column) => column.kind === "rank" && column.quantity === "step");
  const latest = new Map<number, { name: string; at: number }>();
  const bars: Bar[] = [];
  for (const rank of ranks) {
    rank.at.forEach((point, index) => {
      const step = rank.value[index] as number;
      const before = index ? (rank.at[index - 1] as number) : 0;
      const was = latest.get(step);
      if (!was || was.at < point) latest.set(step, { name: rank.name, at: point });
      const row = hosts.get(rank.name) ?? `rank ${rank.name}`;
      bars.push({
        row, from: before * series.period_ns, to: point * series.period_ns, tint: step, critical: false,
        text: `${row}, until ${step} operations were done: ${format.time((point - before) * series.period_ns)}`,
      });
    });
  }
  const last = new Map([...latest].map(([step, { name }]) => [step, hosts.get(name) ?? `rank ${name}`]));
  for (const bar of bars) bar.critical = ranks.length > 1 && last.get(bar.tint) === bar.row;
  return bars;
}

/** Return the section of ranks; null where nothing is known of them over time. */
export function ranksSection({ run, series }: ShownRun): Section | null {
  const hosts = new Map(run.ranks.map((rank) => [String(rank.rank), rank.host]));
  const steps = series ? stepBars(series, hosts) : [];
  const bars = steps.length ? steps : run.flow_completion ? [] : flowBars(run);
  if (!bars.length) return null;
  const rows = [...new Set(bars.map((bar) => bar.row))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
  const shown = rows.slice(0, ROWS);
  const end = bars.reduce((most, bar) => Math.max(most, bar.to), 1);
  const kept = new Set(shown);
  // Of very many bars the longest are seen.
  const drawn = bars.filter((bar) => kept.has(bar.row)).sort((a, b) => b.to - b.from - (a.to - a.from)).slice(0, BARS);
  const what = steps.length ? "Each bar lasts until a rank has done one operation more" : "Each bar is what a rank sent to another, from its first message to the last byte's arrival";
  const critical = steps.length
    ? "of each step the rank that ended it last is orange, to the period of the series: the critical path"
    : "orange is the critical path as far as times tell it: back from the last arrival, each time to what had last arrived at or left the sender before it sent";
  const left = rows.length > shown.length ? ` The first ${shown.length} of ${rows.length} are drawn.` : "";
  const body: Child[] = [
    figure(`${what}; ${critical}.${left}`, responsive((width) => drawing("Ranks over time", drawn, shown, end, width)), () => barTable(bars)),
    h("p", { class: "legend" }, ...[["even", steps.length ? "even steps" : "sending"], ...(steps.length ? [["odd", "odd steps"]] : []), ["critical", "critical path"]].map(([kind, text]) => h("span", { class: "step" }, h("i", { class: `swatch ${kind}` }), text))),
  ];
  return { id: "ranks", title: "Ranks over time", body };
}

function barTable(bars: readonly Bar[]): HTMLElement {
  return table("Ranks over time", bars, [
    { name: "rank", cell: (bar) => bar.row, key: (bar) => bar.row },
    { name: "from", number: true, cell: (bar) => format.time(bar.from), key: (bar) => bar.from },
    { name: "to", number: true, cell: (bar) => format.time(bar.to), key: (bar) => bar.to },
    { name: "for", number: true, cell: (bar) => format.time(bar.to - bar.from), key: (bar) => bar.to - bar.from },
    { name: "what", cell: (bar) => bar.text },
    { name: "critical path", cell: (bar) => (bar.critical ? "yes" : "no"), key: (bar) => Number(bar.critical) },
  ]);
}

/** Return the section of jobs; null where there are none. */
export function jobsSection({ run }: ShownRun): Section | null {
  const { jobs } = run;
  if (!jobs.length) return null;
  const us = (value: number | null): string => (value === null ? "–" : format.time(value * 1e3));
  const end = duration(run) || 1;
  const parts = jobs.flatMap((job) => {
    let from = job.start_us ?? 0;
    return job.iterations.flatMap((each, index): Bar[] => {
      const begin = from;
      from += each.time_us;
      return [{ row: job.name, from: begin * 1e3, to: from * 1e3, tint: index, critical: false, text: `${job.name}, iteration ${index}: ${us(each.time_us)}, of it ${us(each.exposed_us)} of communication exposed, ${us(each.hidden_us)} hidden` }];
    });
  });
  const body: Child[] = [
    figure("Each bar is an iteration of a job.", responsive((width) => drawing("Iterations of jobs over time", parts, jobs.map((job) => job.name), end, width)), () => barTable(parts)),
    table("Jobs", jobs, [
      { name: "job", cell: (job) => job.name, key: (job) => job.name },
      { name: "ranks", number: true, cell: (job) => job.ranks.length, key: (job) => job.ranks.length },
      { name: "began", number: true, cell: (job) => us(job.start_us), key: (job) => job.start_us ?? 0 },
      { name: "ended", number: true, cell: (job) => us(job.end_us), key: (job) => job.end_us ?? Infinity },
      { name: "iterations", number: true, cell: (job) => job.iterations.length },
      { name: "exposed", number: true, cell: (job) => us(job.exposed_us), key: (job) => job.exposed_us },
      { name: "hidden", number: true, cell: (job) => us(job.hidden_us), key: (job) => job.hidden_us },
      { name: "busbw, GB/s", number: true, cell: (job) => (job.busbw_gbytes_per_s === null ? "–" : format.digits(job.busbw_gbytes_per_s, 4)) },
      { name: "slowdown", number: true, cell: (job) => (job.slowdown === null ? "–" : format.digits(job.slowdown)) },
      { name: "wrong", number: true, cell: (job) => (job.wrong === null ? "not compared" : format.count(job.wrong)), mark: (job) => (job.wrong ? "bad" : "") },
    ]),
  ];
  const steps = jobs.flatMap((job) => job.steps.map((step) => ({ job: job.name, ...step })));
  if (steps.length) {
    body.push(table("Collectives of jobs", steps, [
      { name: "job", cell: (row) => row.job, key: (row) => row.job },
      { name: "step", number: true, cell: (row) => row.step, key: (row) => row.step },
      { name: "collective", cell: (row) => `${row.collective} (${row.algorithm})` },
      { name: "size", number: true, cell: (row) => format.size(row.size_bytes), key: (row) => row.size_bytes },
      { name: "groups", number: true, cell: (row) => row.groups },
      { name: "time", number: true, cell: (row) => us(row.time_us), key: (row) => row.time_us },
      { name: "busbw, GB/s", number: true, cell: (row) => format.digits(row.busbw_gbytes_per_s, 4), key: (row) => row.busbw_gbytes_per_s },
    ]));
  }
  const reach = Object.entries(run.bytes_by_reach ?? {}).filter(([, value]) => value > 0);
  if (reach.length) body.push(h("p", {}, `Bytes by reach: ${reach.map(([name, value]) => `${name} ${format.bytes(value)}`).join(", ")}.`));
  return { id: "jobs", title: "Jobs", body };
}
