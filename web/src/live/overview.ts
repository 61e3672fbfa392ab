// Which labs there are, and how the run on the chosen one is getting on.

import { button, h, type Child } from "../dom";
import * as format from "../format";
import { paragraph, sectionElement } from "../section";
import { byName, table } from "../table";
import type { Ended } from "./messages";
import { say, Tiles } from "./parts";
import type { Lab, Store } from "./store";
import type { Part } from "./work";

export interface Shown { store: Store; lab: Lab | null }

const GONE = "gone";

function agentsOf(lab: Lab, store: Store): string {
  return [...lab.agents].map((agent) => (store.agents.get(agent) === false ? `${agent} (${GONE})` : agent)).join(", ");
}

function doing(lab: Lab, store: Store): string {
  if ([...lab.agents].some((agent) => store.agents.get(agent) === false)) return "its agent is gone; figures are those from before";
  if (lab.state?.state === "broken") return "broken";
  if (lab.current) return `runs ${lab.current.name}`;
  if (lab.state?.busy) return "a run is under way";
  return lab.last ? `idle; last: ${lab.last.verdict || lab.last.name}` : "idle";
}

/** Return the part that lists all labs; `choose` is called with the name of one. */
export function labsPart(choose: (name: string) => void): Part<Shown> {
  const frame = h("div");
  const none = paragraph("No lab is up, or no message has come yet.");
  let drawn = "";
  const draw = ({ store, lab: chosen }: Shown): void => {
    const rows = [...store.labs.values()].sort((a, b) => byName(a.name, b.name))
      .map((lab) => ({ name: lab.name, agents: agentsOf(lab, store), doing: doing(lab, store), isChosen: lab === chosen }));
    const now = JSON.stringify(rows);
    if (now === drawn) return;
    drawn = now;
    const focused = frame.contains(document.activeElement) ? document.activeElement?.getAttribute("data-lab") : null;
    const made = table("Labs that agents tell of", rows, [
      { name: "lab", cell: (row) => button(row.name, () => choose(row.name), { "aria-pressed": row.isChosen ? "true" : "false", "data-lab": row.name }), key: (row) => row.name },
      { name: "agents", cell: (row) => row.agents, key: (row) => row.agents },
      { name: "what it does", cell: (row) => row.doing, key: (row) => row.doing },
    ]);
    frame.replaceChildren(rows.length ? made : none);
    if (focused) [...frame.querySelectorAll("button")].find((each) => each.dataset["lab"] === focused)?.focus();
  };
  return { element: sectionElement({ id: "labs", title: "Labs", body: [frame] }, ""), everyMs: 250, draw };
}

function badge(last: Ended): [string, string, string] {
  const colon = last.verdict.indexOf(": ");
  const kind = last.passed ? "good" : last.exitCode === 4 || last.passed === null ? "doubtful" : "bad";
  if (colon > 0) return [kind, last.verdict.slice(0, colon), last.verdict.slice(colon + 2)];
  return [kind, last.complete ? "ENDED" : "NOT COMPLETE", last.verdict || last.reasons.join("; ")];
}

const left = (seconds: number): string => (seconds < 90 ? `${Math.round(seconds)} s` : `${Math.floor(seconds / 60)} min ${Math.round(seconds % 60)} s`);

/** Return the part with the run on the chosen lab: whether it goes on or how it ended, how far it is, and figures. */
export function runPart(): Part<Shown> {
  const word = h("strong", { class: "badge" });
  const sentence = h("span");
  const verdict = h("p", { class: "verdict", role: "status" }, word, " ", sentence);
  const bar = h("progress", { max: 1, "aria-label": "How much of the run is done" });
  const reasons = h("ul");
  const failing = h("div", { class: "failing" }, h("h3", {}, "What failed"), reasons);
  const where = h("p");
  const tiles = new Tiles();
  const title = (kind: string, first: string, rest: string): void => {
    if (word.className !== `badge ${kind}`) word.className = `badge ${kind}`;
    say(word, first);
    say(sentence, rest);
  };
  const draw = ({ lab }: Shown): void => {
    const { current, progress, last } = lab ?? { current: null, progress: null, last: null };
    const isRunning = current !== null || Boolean(lab?.state?.busy);
    const ended = isRunning ? null : last;
    if (isRunning) title("running", "RUNNING", `${current?.name ?? "a run"} on ${lab?.name ?? ""}`);
    else if (last) title(...badge(last));
    else title("idle", "IDLE", lab ? "no run since this page looks, and none that is remembered" : "no lab is chosen");
    bar.hidden = !isRunning;
    if (progress?.share !== null && progress?.share !== undefined) bar.value = progress.share;
    else bar.removeAttribute("value");
    failing.hidden = !ended || ended.passed === true || !ended.reasons.length;
    const texts = ended?.reasons ?? [];
    if (reasons.dataset["shown"] !== texts.join("\n")) {
      reasons.dataset["shown"] = texts.join("\n");
      reasons.replaceChildren(...texts.map((text) => h("li", {}, text)));
    }
    where.hidden = !ended?.result;
    say(where, ended?.result ? `Result: ${ended.result}` : "");
    tiles.set(figures(lab, isRunning, ended));
  };
  const body: Child[] = [verdict, bar, failing, tiles.element, where];
  return { element: sectionElement({ id: "run", title: "Run", body }, ""), everyMs: 200, draw };
}

function figures(lab: Lab | null, isRunning: boolean, ended: Ended | null): [string, string][] {
  const progress = isRunning ? lab?.progress : null;
  const state = lab?.state;
  const some = (value: number | null | undefined, write: (value: number) => string): string => (value === null || value === undefined ? "" : write(value));
  return [
    ["Done", some(progress?.share, format.percent)],
    ["Time left", some(progress?.leftS, left)],
    ["Row", progress?.rows ? `${progress.row + 1} of ${progress.rows}${progress.sizeBytes ? `, ${format.size(progress.sizeBytes)}` : ""}` : ""],
    ["Ranks that ended", state?.ranks ? `${format.count(state.finished)} of ${format.count(state.ranks)}` : ""],
    ["Nominal time of the run", some(progress?.nominalNs ?? ended?.nominalNs, format.time)],
    ["Nominal time in a wall second", progress?.rate ? format.time(progress.rate * 1e9) : ""],
    ["Wall time of the run", some(ended?.wallS, left)],
    ["Nominal time of the lab", some(lab?.nominalNs, format.time)],
    ["Frames lost", state ? format.count(state.drops.reduce((sum, each) => sum + each[1], 0)) : ""],
    ["Pauses seen", lab ? format.count(lab.pauses) : ""],
    ["Deadlocks", state?.deadlocks ? format.count(state.deadlocks) : ""],
    ["99 % of frames late by at most", some(state?.lateNs, format.time)],
    ["Time held back", some(state?.heldShare, format.percent)],
    ...(ended?.figures ?? []).map(([name, value]): [string, string] => [`Result: ${name}`, format.digits(value, 4)]),
  ];
}
