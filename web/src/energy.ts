// Power, energy and cost of the links that have a profile.

import { h, picture, s, type Child } from "./dom";
import * as format from "./format";
import type { PoweredLink, ShownRun } from "./model";
import { responsive } from "./responsive";
import { figure, type Section } from "./section";
import { table } from "./table";

const ROW = 26;

interface Group { profile: string; links: PoweredLink[]; watts: number; joules: number; bits: number; nominal: number | null; cost: number | null }

const figureOf = (value: number | null | undefined, unit: string): string => (value === null || value === undefined ? "–" : `${format.digits(value, 4)}${unit && ` ${unit}`}`);

function groups(links: readonly PoweredLink[]): Group[] {
  const byProfile = new Map<string, PoweredLink[]>();
  for (const link of links) byProfile.set(link.profile, [...(byProfile.get(link.profile) ?? []), link]);
  const sum = (each: readonly PoweredLink[], of: (link: PoweredLink) => number): number => each.reduce((total, link) => total + of(link), 0);
  return [...byProfile].map(([profile, each]) => ({
    profile, links: each, watts: sum(each, (link) => link.watts), joules: sum(each, (link) => link.joules), bits: sum(each, (link) => link.useful_bits),
    nominal: each.find((link) => link.nominal_pj_per_bit !== null)?.nominal_pj_per_bit ?? null, cost: each.find((link) => link.cost_per_petabyte != null)?.cost_per_petabyte ?? null,
  })).sort((a, b) => b.watts - a.watts);
}

function bars(rows: readonly Group[], width: number): SVGSVGElement {
  const name = Math.min(rows.reduce((most, row) => Math.max(most, row.profile.length), 0) * 7.2 + 10, width * 0.4);
  const most = rows.reduce((high, row) => Math.max(high, row.watts), 0) || 1;
  return picture("Power by profile of link", width, rows.length * ROW + 4, ...rows.flatMap((row, index): Child[] => {
    const wide = (row.watts / most) * (width - name - 90);
    return [
      s("text", { class: "row-name", x: name - 8, y: index * ROW + 17, "text-anchor": "end" }, row.profile),
      s("rect", { class: "s0", x: name, y: index * ROW + 5, width: Math.max(wide, 1), height: 16, rx: 2 }),
      s("text", { class: "tick", x: name + wide + 6, y: index * ROW + 17 }, `${format.digits(row.watts, 4)} W`),
    ];
  }));
}

/** Return the section of energy and cost; null where no link has a profile. */
export function energySection({ run }: ShownRun): Section | null {
  const { energy } = run;
  const links = Object.values(energy.links ?? {});
  if (!links.length) return null;
  const rows = groups(links);
  const isPriced = energy.cost_per_petabyte !== undefined && energy.cost_per_petabyte !== null;
  const byProfile = (): HTMLElement => table("Energy by profile", rows, [
    { name: "profile", cell: (row) => row.profile, key: (row) => row.profile },
    { name: "links", number: true, cell: (row) => row.links.length, key: (row) => row.links.length },
    { name: "power", number: true, cell: (row) => figureOf(row.watts, "W"), key: (row) => row.watts },
    { name: "nominal", number: true, cell: (row) => figureOf(row.nominal, "pJ/bit") },
    { name: "useful", number: true, cell: (row) => figureOf(row.bits ? (row.joules / row.bits) * 1e12 : null, "pJ/bit") },
    { name: "energy", number: true, cell: (row) => figureOf(row.joules, "J"), key: (row) => row.joules },
    ...(isPriced ? [{ name: "cost of 1 PB", number: true, cell: (row: Group) => figureOf(row.cost, "") }] : []),
  ]);
  const whole = [["Power", figureOf(energy.watts, "W")], ["Energy", figureOf(energy.joules, "J")], ["Nominal", figureOf(energy.nominal_pj_per_bit, "pJ/bit")], ["Useful", figureOf(energy.useful_pj_per_bit, "pJ/bit")], ...(isPriced ? [["Cost of 1 PB", figureOf(energy.cost_per_petabyte, "")]] : [])];
  const body: Child[] = [
    h("dl", { class: "tiles" }, ...whole.map(([name, value]) => h("div", {}, h("dt", {}, name), h("dd", {}, value)))),
    figure("Power by profile of link, both ends together.", responsive((width) => bars(rows, width)), byProfile),
  ];
  return { id: "energy", title: "Energy and cost", body };
}
