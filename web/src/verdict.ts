// What a reader wants to know first: did it hold, what did not, the figures, and the command that repeats it.

import { button, h, type Child } from "./dom";
import * as format from "./format";
import { duration, lost, priorities, type Run, type ShownRun } from "./model";
import type { Section } from "./section";
import { table } from "./table";

const ROOTS = 4;

/** A figure of a run: its name, how it is written, and its value, by which runs are compared. */
export interface Figure { name: string; text: string; value: number | null; better: "more" | "less" | null }

/** Return the figures of a run that a summary has. */
export function figures(run: Run): Figure[] {
  const found: Figure[] = [];
  const add = (name: string, value: number | null | undefined, write: (value: number) => string, better: Figure["better"] = null): void => {
    if (value !== null && value !== undefined) found.push({ name, text: write(value), value, better });
  };
  const row = run.collective.rows.at(-1);
  const all = priorities(run).map((each) => each.counters);
  const sum = (of: (counters: (typeof all)[number]) => number): number => all.reduce((total, each) => total + of(each), 0);
  add("Time", row && row.time_us * 1e3, format.time, "less");
  add("Bus bandwidth", row?.size_bytes ? row.busbw_gbytes_per_s : null, (value) => `${format.digits(value, 4)} GB/s`, "more");
  add("Of the ideal", row?.percent_of_ideal, (value) => `${format.digits(value, 3)} %`, "more");
  add("Makespan", run.makespan_us && run.makespan_us * 1e3, format.time, "less");
  add("Flows ended", run.flow_completion?.all.finished, format.count, "more");
  add("Slowdown, mean", run.flow_completion?.all.slowdown?.mean, format.digits, "less");
  add("Slowdown, 99 %", run.flow_completion?.all.slowdown?.p99, format.digits, "less");
  add("Frames lost", sum(lost), format.count, "less");
  add("Pauses received", sum((each) => each.pause_rx), format.count, "less");
  add("Longest paused port", all.reduce((most, each) => Math.max(most, each.paused_ns), 0), format.time, "less");
  add("Fullest queue", all.reduce((most, each) => Math.max(most, each.queue_bytes_max), 0), format.bytes, "less");
  add("Headroom used", all.reduce((most, each) => Math.max(most, each.headroom_bytes_max), 0), format.bytes, "less");
  add("Frames marked", sum((each) => each.ecn_marked) || null, format.count);
  add("Packets sent again", run.qps.reduce((total, pair) => total + Number(pair["retransmitted"] ?? 0), 0) || null, format.count, "less");
  add("Power", run.energy.watts, (value) => `${format.digits(value, 4)} W`, "less");
  add("Energy", run.energy.joules, (value) => `${format.digits(value, 3)} J`, "less");
  add("Nominal time", duration(run), format.time);
  return found;
}

/** Return the command that repeats a run, to be copied. */
export function command(text: string): HTMLElement {
  const code = h("code", {}, text);
  const copy = button("Copy", () => {
    // Browsers give a page from a file no clipboard at times; what is selected can always be copied.
    getSelection()?.selectAllChildren(code);
    void navigator.clipboard?.writeText(text).then(() => { copy.textContent = "Copied"; }, () => undefined);
  });
  return h("div", { class: "command" }, h("pre", { tabindex: 0, role: "region", "aria-label": "Command that repeats it" }, code), copy);
}

/** Return the badge of a run with what it says. */
export function badge({ run, verdict }: ShownRun): HTMLElement {
  const kind = !run.verdict.trusted ? "doubtful" : run.verdict.passed ? "good" : "bad";
  const colon = verdict.indexOf(": ");
  return h("p", { class: "verdict" }, h("strong", { class: `badge ${kind}` }, verdict.slice(0, colon)), " ", verdict.slice(colon + 2));
}

function failing(run: Run): Child {
  const items = [...run.verdict.reasons];
  if (run.verdict.advice) items.push(`What to do: ${run.verdict.advice}.`);
  if (!items.length) return null;
  return h("div", { class: "failing" }, h("h3", {}, "What failed"), h("ul", {}, ...items.map((item) => h("li", {}, item))));
}

/** Return the first section: verdict, failing items, roots of pauses, figures, the command. */
export function verdictSection(shown: ShownRun): Section {
  const { run } = shown;
  const roots = shown.pauses.slice(0, ROOTS);
  const more = shown.pauses.length - roots.length;
  const body: Child[] = [
    badge(shown),
    failing(run),
    roots.length > 0 && h("div", { class: "roots" }, h("h3", {}, "Who paused whom"), h("ul", {}, ...roots.map((sentence) => h("li", {}, sentence)), more > 0 && h("li", {}, `${more} more roots below`))),
    h("dl", { class: "tiles" }, ...figures(run).map((each) => h("div", {}, h("dt", {}, each.name), h("dd", {}, each.text)))),
    h("p", {}, `Lab ${run.lab}, ${run.clock} clock, dilation ${run.dilation}, seed ${run.seed}. Times are nominal. This command repeats it:`),
    command(run.replay),
  ];
  if (run.collective.rows.length) body.push(rowsTable(run));
  return { id: "verdict", title: "Verdict", body };
}

function rowsTable(run: Run): HTMLElement {
  const figure = (value: number | null | undefined): string => (value === null || value === undefined ? "–" : format.digits(value, 4));
  const inPlace = run.collective.rows.some((row) => row.in_place);
  const { name, algorithm, ranks } = run.collective;
  return table(`${name} (${algorithm}), ${ranks} ranks; bandwidths in GB/s`, run.collective.rows, [
    { name: "size", cell: (row) => format.size(row.size_bytes), key: (row) => row.size_bytes },
    { name: "type", cell: (row) => row.type },
    { name: "operation", cell: (row) => row.redop },
    { name: "time", number: true, cell: (row) => format.time(row.time_us * 1e3), key: (row) => row.time_us },
    { name: "algbw", number: true, cell: (row) => figure(row.algbw_gbytes_per_s), key: (row) => row.algbw_gbytes_per_s },
    { name: "busbw", number: true, cell: (row) => figure(row.busbw_gbytes_per_s), key: (row) => row.busbw_gbytes_per_s },
    { name: "of ideal", number: true, cell: (row) => (row.percent_of_ideal === null ? "–" : `${figure(row.percent_of_ideal)} %`) },
    { name: "wrong", number: true, cell: (row) => (row.wrong === null ? "not compared" : format.count(row.wrong)), mark: (row) => (row.wrong ? "bad" : "") },
    ...(inPlace ? [{ name: "busbw in place", number: true, cell: (row: Run["collective"]["rows"][number]) => figure(row.in_place?.busbw_gbytes_per_s) }] : []),
  ]);
}
