// What was done to the chosen lab, and frames that it lost, the newest first.

import { choice, h } from "../dom";
import * as format from "../format";
import { sectionElement } from "../section";
import { table } from "../table";
import type { Shown } from "./overview";
import { say } from "./parts";
import type { Entry, Lab } from "./store";
import type { Part } from "./work";

const SHOWN = 100;
/** A screen reader hears of losses no more often than it can read. */
const SPOKEN_MS = 5_000;

const CHOICES = [["all", null], ["events", "event"], ["losses", "drops"]] as const;

function clock(at: string): string {
  const time = new Date(at);
  return Number.isNaN(time.getTime()) ? at : time.toLocaleTimeString("en-GB");
}

function words(entry: Entry): string {
  if (entry.kind === "event" || !entry.frames) return entry.what;
  return `${format.count(entry.frames)} ${entry.frames === 1 ? "frame" : "frames"} lost: ${entry.what}`;
}

/** Return the part with the log. */
export function logPart(): Part<Shown> {
  const frame = h("div");
  const spoken = h("p", { class: "status", role: "status" });
  let [kind, drawn, lab]: [Entry["kind"] | null, string, Lab | null] = [null, "", null];
  const spokenOf = new WeakMap<Lab, number>();
  let spokenAt = -Infinity;

  const draw = (shown: Shown, now: number): void => {
    if (shown.lab !== lab) [lab, drawn] = [shown.lab, ""];
    const state = `${kind ?? ""} ${lab?.told ?? 0}`;
    if (state !== drawn && !frame.contains(document.activeElement)) {
      drawn = state;
      const rows = (lab?.entries ?? []).filter((each) => kind === null || each.kind === kind).slice(-SHOWN).reverse();
      frame.replaceChildren(rows.length ? log(rows) : h("p", {}, "Nothing yet."));
    }
    const lost = (lab && spokenOf.get(lab)) ?? 0;
    if (!lab || lab.lost === lost || now - spokenAt < SPOKEN_MS) return;
    const last = lab.entries.filter((each) => each.kind === "drops" && each.frames > 0).at(-1);
    say(spoken, `${format.count(lab.lost - lost)} frames were lost${last ? `, the last at ${last.where}: ${last.what}` : ""}.`);
    spokenOf.set(lab, lab.lost);
    spokenAt = now;
  };

  const controls = h("div", { class: "controls" }, choice("Show", CHOICES.map((each) => each[0]), 0, (index) => { kind = CHOICES[index]?.[1] ?? null; }));
  return { element: sectionElement({ id: "log", title: "Events and losses", body: [spoken, controls, frame] }, ""), everyMs: 400, draw };
}

function log(rows: readonly Entry[]): HTMLElement {
  return table("What happened, the newest first; times are local", rows, [
    { name: "time", cell: (row) => clock(row.at) },
    { name: "what", cell: words, mark: (row) => (row.kind === "drops" ? "bad" : "") },
    { name: "where", cell: (row) => row.where },
    { name: "details", cell: (row) => row.details },
  ], SHOWN);
}
