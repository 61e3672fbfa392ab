// Tables without pictures: expectations, fidelity, ports, changes of links, settings.

import { h, type Child } from "./dom";
import * as format from "./format";
import { lost, priorities, type Run, type ShownRun } from "./model";
import { folded, openOnPaper, paragraph, type Section } from "./section";
import { pairs, table } from "./table";

// A page of paper holds some 200 lines in three columns.
const MOST_ON_PAPER = 400;

/** Write a value of a document as text. */
export function written(value: unknown): string {
  if (value === null || value === undefined) return "–";
  if (typeof value === "number") return format.digits(value, 9);
  return typeof value === "string" ? value : typeof value === "boolean" ? (value ? "yes" : "no") : JSON.stringify(value);
}

/** Return the leaves of a document by their dotted keys. */
export function leaves(value: unknown, key = ""): [string, unknown][] {
  if (value === null || typeof value !== "object") return [[key, value]];
  const entries = Array.isArray(value) ? value.map((each, index): [string, unknown] => [named(each) ?? String(index), each]) : Object.entries(value);
  if (!entries.length) return [];
  return entries.flatMap(([name, each]) => leaves(each, key ? `${key}.${name}` : name));
}

/** Return what a member of a list is called, so that lists of two runs are compared by what they hold. */
function named(value: unknown): string | null {
  if (value === null || typeof value !== "object") return null;
  const facts = value as Record<string, unknown>;
  if (typeof facts["port"] === "string") return `${facts["port"]}/${written(facts["priority"])}`;
  if (typeof facts["link"] === "string") return facts["link"];
  return typeof facts["name"] === "string" ? facts["name"] : null;
}

export function expectationsSection({ run }: ShownRun): Section {
  const rows = run.expectations ?? [];
  const body: Child[] = rows.length
    ? [table("Expectations", [...rows].sort((a, b) => Number(a.held) - Number(b.held)), [
        { name: "expectation", cell: (row) => row.text },
        { name: "held", cell: (row) => (row.held ? "yes" : "no"), mark: (row) => (row.held ? "good" : "bad") },
        { name: "measured", cell: (row) => row.explanation },
      ])]
    : [paragraph(run.verdict.passed
        ? "The experiment names no expectation of its own: the run had to be lossless, complete and correct, and it was."
        : "The experiment names no expectation of its own. What the run had to hold and did not stands at the top.")];
  return { id: "expectations", title: "Expectations", body };
}

/** What a run skipped, as run.json has it. */
interface Skipped {
  tolerance: number; bound: number; skipped_ps: number; skips: number; share_of_frame_hops: number;
  intervals: Record<string, number>[]; exact_ps: Record<string, number>;
}

function fastForward(skipped: Skipped): Child[] {
  const time = (ps: number): string => format.time(ps / 1000);
  const reasons = Object.entries(skipped.exact_ps).sort((a, b) => b[1] - a[1]);
  return [
    paragraph(skipped.skips
      ? `Whole periods of what recurred were skipped: ${(100 * skipped.share_of_frame_hops).toFixed(1)} % of the frame-hops. Figures are off by at most ${skipped.bound}.`
      : "The run was to skip what recurs, and skipped nothing: its figures are exact."),
    pairs("Fast-forward", [
      ["off by at most, allowed", written(skipped.tolerance)], ["off by at most", written(skipped.bound)],
      ["skipped", time(skipped.skipped_ps)], ["intervals", format.count(skipped.skips)],
      ...reasons.map(([reason, ps]) => [`event by event: ${reason}`, time(ps)] as const),
    ]),
  ];
}

export function fidelitySection({ run }: ShownRun): Section {
  const { fast_forward: skipped, ...paced } = (run.fidelity ?? {}) as Record<string, unknown> & { fast_forward?: Skipped };
  const rows = leaves(paced).map(([key, value]) => [key, written(value)] as const);
  const body: Child[] = rows.length
    ? [paragraph(`The run was paced by this machine's clock, at dilation ${run.dilation}. It ${run.verdict.trusted ? "kept" : "did not keep"} within the bounds.`), pairs("Fidelity", rows)]
    : [paragraph("Under the virtual clock every event happens at its exact time: there is nothing that a machine could be late for.")];
  if (skipped) body.push(...fastForward(skipped));
  body.push(pairs("What it was run with", [...Object.entries(run.versions), ...Object.entries(run.provenance ?? {}).map(([key, value]) => [key.replaceAll("_", " "), written(value)] as const), ["hash of the event log", written(run.event_log_hash)]]));
  return { id: "fidelity", title: "Fidelity", body };
}

export function portsSection({ run }: ShownRun): Section {
  const rows = priorities(run);
  const some = <T>(of: (row: (typeof rows)[number]) => T): boolean => rows.some((row) => Boolean(of(row)));
  const column = (name: string, of: (row: (typeof rows)[number]) => number, write: (value: number) => string, bad = false) => ({
    name, number: true, cell: (row: (typeof rows)[number]) => write(of(row)), key: of, mark: (row: (typeof rows)[number]) => (bad && of(row) ? "bad" : ""),
  });
  const all = [
    column("sent", (row) => row.counters.bytes_tx, format.bytes),
    column("received", (row) => row.counters.bytes_rx, format.bytes),
    column("lost", (row) => lost(row.counters), format.count, true),
    column("pauses sent", (row) => row.counters.pause_tx, format.count),
    column("pauses received", (row) => row.counters.pause_rx, format.count),
    column("paused", (row) => row.counters.paused_ns, format.time),
    column("waited for credit", (row) => row.counters.credit_wait_ns, format.time),
    column("queue, peak", (row) => row.counters.queue_bytes_max, format.bytes),
    column("headroom, peak", (row) => row.counters.headroom_bytes_max, format.bytes),
    column("marked", (row) => row.counters.ecn_marked, format.count),
    column("demoted", (row) => row.counters.demoted, format.count),
  ].filter((each) => some(each.key));
  const body: Child[] = [table("Ports by priority", rows, [
    { name: "port", cell: (row) => row.port, key: (row) => row.port },
    { name: "priority", number: true, cell: (row) => row.priority, key: (row) => Number(row.priority) },
    ...all,
  ])];
  if (run.watchdog.length) {
    body.push(table("Watchdog", run.watchdog, [
      { name: "port", cell: (row) => row.port, key: (row) => row.port },
      { name: "priority", number: true, cell: (row) => row.priority },
      { name: "detected", number: true, cell: (row) => format.time(row.detected_ns), key: (row) => row.detected_ns },
      { name: "restored", number: true, cell: (row) => (row.restored_ns === null ? "–" : format.time(row.restored_ns)) },
      { name: "dropped", number: true, cell: (row) => format.count(row.dropped), key: (row) => row.dropped },
      { name: "what it was", cell: (row) => row.explanation },
    ]));
  }
  if (run.impairments.length) {
    body.push(table("Changes of links", run.impairments, [
      { name: "from", cell: (row) => row.link, key: (row) => row.link },
      { name: "to", cell: (row) => row.to },
      { name: "change", cell: (row) => leaves(row.set).map(([key, value]) => `${key} ${written(value)}`).join(", ") },
      { name: "by", cell: (row) => row.label },
      { name: "took place", number: true, cell: (row) => (row.at_ns === null ? "not any more" : format.time(row.at_ns)), key: (row) => row.at_ns ?? Infinity },
    ]));
  }
  return { id: "ports", title: "Ports", body };
}

function tree(title: string, value: unknown, isOpen: boolean): HTMLElement {
  if (value === null || typeof value !== "object") return h("p", { class: "leaf" }, h("span", {}, `${title}: `), h("code", {}, written(value)));
  const entries = Array.isArray(value) ? value.map((each, index): [string, unknown] => [named(each) ?? String(index), each]) : Object.entries(value);
  const flat = entries.every(([, each]) => each === null || typeof each !== "object");
  if (Array.isArray(value) && flat) return h("p", { class: "leaf" }, h("span", {}, `${title}: `), h("code", {}, value.map(written).join(", ") || "none"));
  const part = folded(`${title} (${entries.length})`, () => h("div", { class: "branch" }, ...entries.map(([name, each]) => tree(name, each, false))));
  part.open = isOpen;
  return part;
}

/** Return a tree that is open on paper; a long one is left to run.json there. */
function printable(name: string, value: unknown): Child[] {
  const part = tree(name, value, name === "in force");
  if (!(part instanceof HTMLDetailsElement)) return [part];
  const count = leaves(value).length;
  if (count > MOST_ON_PAPER) return [part, h("p", { class: "paper" }, `${name}: ${format.count(count)} values, which are in run.json.`)];
  openOnPaper(part);
  return [part];
}

export function settingsSection({ run }: ShownRun): Section {
  const body: Child[] = [];
  if (run.hints.length) {
    body.push(table("Settings without effect", run.hints, [
      { name: "setting", cell: (row) => h("code", {}, row.key) },
      { name: "why", cell: (row) => row.text },
    ]));
  }
  const parts: [string, unknown][] = [...Object.entries(run.settings ?? {}), ["in force", run.in_force], ["links", run.links], ["addresses", run.addresses ?? {}]];
  for (const [name, value] of parts) body.push(...printable(name, value));
  body.push(folded("run.json, whole", () => whole(run)));
  return { id: "settings", title: "Settings", body };
}

/** Return the document of the run, to look at and to keep. */
function whole(run: Run): HTMLElement {
  const text = JSON.stringify(run, null, 2);
  const link = h("a", { download: "run.json", href: URL.createObjectURL(new Blob([text], { type: "application/json" })) }, "Save run.json");
  const shown = text.length > 200_000 ? `${text.slice(0, 200_000)}\n…` : text;
  return h("div", {}, h("p", {}, link, ` (${format.bytes(text.length)})`), h("pre", { tabindex: 0, role: "region", "aria-label": "run.json" }, shown));
}
