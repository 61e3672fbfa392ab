// What buffers held at most against what they were planned for, and over time against their thresholds.

import { choice, h, picture, s, type Child } from "./dom";
import * as format from "./format";
import { changes, type Run, type Series, type ShownRun } from "./model";
import { responsive } from "./responsive";
import { figure, type Section } from "./section";
import { table } from "./table";
import { chart, type Threshold } from "./chart";

const BARS = 24;
const ROW = 24;

interface Peak {
  name: string; node: string; port: string; priority: number;
  xoff: number | null; xon: number | null; headroom: number; held: number; above: number; queue: number; plan: number;
}

/** Return every priority group of the switches with its plan and its peak, the fullest first. */
function peaks(run: Run): Peak[] {
  const found = Object.entries(run.in_force.switches ?? {}).flatMap(([node, facts]) => facts.groups.map((group): Peak => {
    const counters = run.ports[`${node}:${group.port}`]?.priorities[String(group.priority)];
    const [held, above] = [counters?.ingress_bytes_max ?? 0, counters?.headroom_bytes_max ?? 0];
    const headroom = group.headroom_bytes ?? 0;
    const plan = Math.max((group.xoff_bytes ?? Math.max(held - above, 0)) + headroom, 1);
    return {
      name: `${node}:${group.port} · ${group.priority}`, node, port: group.port, priority: group.priority, xoff: group.xoff_bytes, xon: group.xon_bytes,
      headroom, held, above, queue: counters?.queue_bytes_max ?? 0, plan,
    };
  }));
  return found.sort((a, b) => b.held / b.plan - a.held / a.plan);
}

function bars(rows: readonly Peak[], width: number): SVGSVGElement {
  const name = Math.min(rows.reduce((most, row) => Math.max(most, row.name.length), 0) * 7.2 + 10, width * 0.42);
  const whole = width - name - 68;
  const parts = rows.flatMap((row, index): Child[] => {
    const y = index * ROW + 4;
    const place = (bytes: number): number => Math.min(bytes / row.plan, 1) * whole;
    const below = Math.max(row.held - row.above, 0);
    const isOver = row.above > row.headroom;
    return [
      s("text", { class: "row-name", x: name - 8, y: y + 12, "text-anchor": "end" }, row.name),
      s("rect", { class: "plan", x: name, y, width: whole, height: 16, rx: 2 }),
      s("rect", { class: "s0", x: name, y: y + 3, width: place(below), height: 10 }),
      s("rect", { class: isOver ? "s4" : "s1", x: name + place(below), y: y + 3, width: Math.max(place(row.held) - place(below), 0), height: 10 }),
      row.xoff !== null && s("line", { class: "threshold", x1: name + place(row.xoff), x2: name + place(row.xoff), y1: y - 2, y2: y + 18 }),
      s("text", { class: "tick", x: name + whole + 6, y: y + 12 }, format.percent(row.held / row.plan)),
      s("title", {}, `${row.name}: ${format.bytes(row.held)} of ${format.bytes(row.plan)}`),
    ];
  });
  return picture("Peak of each priority group against what was planned for it", width, rows.length * ROW + 4, ...parts);
}

function peakTable(rows: readonly Peak[]): HTMLElement {
  const some = (value: number | null): string => (value === null ? "dynamic" : format.bytes(value));
  return table("Priority groups: peak against plan", rows, [
    { name: "port and priority", cell: (row) => row.name, key: (row) => row.name },
    { name: "held, peak", number: true, cell: (row) => format.bytes(row.held), key: (row) => row.held },
    { name: "XOFF", number: true, cell: (row) => some(row.xoff), key: (row) => row.xoff ?? 0 },
    { name: "XON", number: true, cell: (row) => some(row.xon) },
    { name: "headroom, peak", number: true, cell: (row) => format.bytes(row.above), key: (row) => row.above, mark: (row) => (row.above > row.headroom ? "bad" : "") },
    { name: "headroom, planned", number: true, cell: (row) => format.bytes(row.headroom), key: (row) => row.headroom },
    { name: "of the plan", number: true, cell: (row) => format.percent(row.held / row.plan), key: (row) => row.held / row.plan },
    { name: "queue at its egress, peak", number: true, cell: (row) => format.bytes(row.queue), key: (row) => row.queue },
  ]);
}

function poolTable(run: Run): HTMLElement {
  const rows = Object.entries(run.pools).map(([node, marks]) => ({ node, marks, buffer: run.in_force.switches?.[node]?.buffer_bytes ?? null }));
  return table("Memories of switches", rows, [
    { name: "switch", cell: (row) => row.node, key: (row) => row.node },
    { name: "buffer", number: true, cell: (row) => (row.buffer === null ? "–" : format.bytes(row.buffer)), key: (row) => row.buffer ?? 0 },
    ...(["buffer", "shared", "headroom", "lossy"] as const).map((part) => ({
      name: part === "buffer" ? "held, peak" : `${part}, peak`, number: true,
      cell: (row: (typeof rows)[number]) => format.bytes(row.marks[`${part}_bytes_max`] ?? 0), key: (row: (typeof rows)[number]) => row.marks[`${part}_bytes_max`] ?? 0,
    })),
  ]);
}

/** Return a chart of one priority group over time, with a choice of the others. */
function overTime(rows: readonly Peak[], series: Series): Child {
  const quantities = ["shared_bytes", "headroom_bytes", "queue_bytes"] as const;
  const names = ["shared, of the group", "headroom, of the group", "queue at its egress"];
  const known = new Set(series.columns.filter((each) => each.kind === "port").map((each) => `${each.name} ${each.priority}`));
  const shown = rows.filter((row) => known.has(`${row.node}:${row.port} ${row.priority}`));
  if (!shown.length) return null;
  const frame = h("div");
  const show = (index: number): void => {
    const row = shown[index] as Peak;
    const lines = quantities.map((quantity, place) => ({ name: names[place] as string, changes: changes(series, "port", `${row.node}:${row.port}`, row.priority, quantity) }));
    const thresholds: Threshold[] = [
      ...(row.xoff === null ? [] : [{ name: "XOFF", value: row.xoff }]), ...(row.xon === null ? [] : [{ name: "XON", value: row.xon }]),
      { name: "headroom planned", value: row.headroom },
    ];
    frame.replaceChildren(chart(`${row.name} over time`, series, lines, thresholds, format.bytes));
  };
  show(0);
  return figure("What a priority group held over time; dashed lines are its thresholds.", frame, null, choice("Group", shown.map((row) => row.name), 0, show));
}

/** Return the section of buffers; null where there is no switch. */
export function buffersSection({ run, series }: ShownRun): Section | null {
  const rows = peaks(run);
  const body: Child[] = [];
  if (rows.length) {
    const shown = rows.slice(0, BARS);
    const left = rows.length > shown.length ? ` The ${shown.length} fullest of ${rows.length} are drawn.` : "";
    body.push(figure(
      `Peak against plan: a bar as long as its frame fills threshold and headroom. Blue is below XOFF (the tick), orange in headroom, red beyond it.${left}`,
      responsive((width) => bars(shown, width)), () => peakTable(rows),
    ));
    if (series) body.push(overTime(rows, series));
  }
  if (Object.keys(run.pools).length) body.push(poolTable(run));
  return body.length ? { id: "buffers", title: "Buffers", body } : null;
}
