// Several runs side by side: what differs between them first.

import { h, type Child } from "./dom";
import * as format from "./format";
import type { ShownRun } from "./model";
import { paragraph, type Section } from "./section";
import { leaves, written } from "./settings";
import { table, type Column } from "./table";
import { badge, command, figures, type Figure } from "./verdict";

interface Difference { name: string; values: string[]; numbers: (number | null)[]; better: Figure["better"] }

/** Return the change from the first run to another as text: +12.5 %. */
export function change(from: number | null | undefined, to: number | null | undefined): string {
  if (from === null || from === undefined || to === null || to === undefined) return "";
  if (from === to) return "same";
  return from === 0 ? "new" : `${to > from ? "+" : "−"}${format.digits(Math.abs((to - from) / from) * 100, 3)} %`;
}

function figureRows(runs: readonly ShownRun[]): Difference[] {
  const all = runs.map((shown) => new Map(figures(shown.run).map((each) => [each.name, each])));
  const names = [...new Set(all.flatMap((each) => [...each.keys()]))];
  return names.map((name) => ({
    name,
    values: all.map((each) => each.get(name)?.text ?? "–"),
    numbers: all.map((each) => each.get(name)?.value ?? null),
    better: all.map((each) => each.get(name)?.better ?? null).find((each) => each !== null) ?? null,
  }));
}

/** Return the settings that are not the same in all runs. */
function settingRows(runs: readonly ShownRun[]): Difference[] {
  const all = runs.map(({ run }) => {
    const { lab, seed, clock, dilation, versions, settings, in_force, links } = run;
    const what = { lab, seed, clock, dilation, "collective": run.collective.name, versions, ...(settings ?? {}), "in force": in_force, links };
    return new Map(leaves(what).map(([key, value]) => [key, written(value)]));
  });
  const keys = [...new Set(all.flatMap((each) => [...each.keys()]))];
  return keys
    .map((name) => ({ name, values: all.map((each) => each.get(name) ?? "–"), numbers: [], better: null }))
    .filter((row) => new Set(row.values).size > 1);
}

function mark(row: Difference, index: number): string {
  const [first, other] = [row.numbers[0], row.numbers[index]];
  if (row.better === null || first === null || first === undefined || other === null || other === undefined || first === other) return "";
  return other > first === (row.better === "more") ? "good" : "bad";
}

function columns(runs: readonly ShownRun[], withChange: boolean): Column<Difference>[] {
  return runs.flatMap((shown, index): Column<Difference>[] => [
    { name: shown.name, number: withChange, cell: (row) => row.values[index] ?? "–" },
    ...(withChange && index > 0 ? [{ name: index === 1 && runs.length === 2 ? "change" : `change of ${shown.name}`, number: true, cell: (row: Difference) => change(row.numbers[0], row.numbers[index]), mark: (row: Difference) => mark(row, index) }] : []),
  ]);
}

function differences(runs: readonly ShownRun[]): Section {
  const rows = figureRows(runs);
  const differing = rows.filter((row) => new Set(row.values).size > 1);
  const same = rows.filter((row) => new Set(row.values).size === 1);
  const settings = settingRows(runs);
  const body: Child[] = [
    h("div", { class: "beside" }, ...runs.map((shown) => h("div", {}, h("h3", {}, shown.name), badge(shown), shown.run.verdict.reasons.length > 0 && h("ul", {}, ...shown.run.verdict.reasons.map((reason) => h("li", {}, reason))), command(shown.run.replay)))),
    differing.length ? table("Figures that differ", differing, [{ name: "figure", cell: (row) => row.name }, ...columns(runs, true)]) : paragraph("No figure differs."),
    settings.length ? table("Settings that differ", settings, [{ name: "setting", cell: (row) => row.name, key: (row) => row.name }, ...columns(runs, false)]) : paragraph("No setting differs."),
    same.length > 0 && paragraph(`The same in all: ${same.map((row) => `${row.name.toLowerCase()} ${row.values[0]}`).join(", ")}.`),
  ];
  return { id: "differences", title: "Differences", body };
}

/** Return the sections of several runs: differences, and then each part of all of them beside each other. */
export function compared(runs: readonly ShownRun[], parts: readonly ((shown: ShownRun) => Section | null)[]): Section[] {
  const found = [differences(runs)];
  for (const part of parts) {
    const each = runs.map((shown) => ({ shown, section: part(shown) }));
    const first = each.find((one) => one.section !== null)?.section;
    if (!first) continue;
    const beside = each.map(({ shown, section }) => h("div", {}, h("h3", {}, shown.name), ...(section?.body.filter((child): child is Node => child instanceof Node) ?? [paragraph("Nothing of it.")])));
    found.push({ id: first.id, title: first.title, body: [h("div", { class: "beside" }, ...beside)] });
  }
  return found;
}
