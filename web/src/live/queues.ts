// Queues of ports: the largest as bars, and one port over the last minutes.

import { largest, Plot } from "../chart";
import { choice, h } from "../dom";
import * as format from "../format";
import { figure, sectionElement } from "../section";
import { stripPicture } from "../strips";
import { byName, table } from "../table";
import type { Shown } from "./overview";
import { Refreshed, say } from "./parts";
import { ago, WINDOWS } from "./pauses";
import type { Lab, PortPriority } from "./store";
import type { Part } from "./work";

const BARS = 12;
const WIDE = 1000;
const EVERY_MS = 250;
const TABLE_MS = 2_000;
/** After so long without news a port sends nothing. */
const SILENT_MS = 1_000;
const WINDOW_MS = WINDOWS[1][1];

interface Bar { row: HTMLElement; name: HTMLElement; strip: HTMLElement; value: HTMLElement }

function bar(): Bar {
  const [name, strip, value] = [h("span", { class: "lane-name" }), h("div", { class: "strip", role: "img" }), h("span", { class: "gauge-value" })];
  return { row: h("div", { class: "lane gauge" }, name, strip, value), name, strip, value };
}

const nameOf = (each: PortPriority): string => `${each.port} · ${each.priority}`;

/** Return what a port did as steps: its queue, and what it sent. */
function steps(each: PortPriority, from: number, now: number): { queue: [number[], number[]]; rate: [number[], number[]] } {
  const queue: [number[], number[]] = [[], []];
  const rate: [number[], number[]] = [[], []];
  const add = ([places, values]: [number[], number[]], at: number, value: number): void => {
    const place = Math.max(at - now, from - now);
    // Places grow: what is at the same place replaces what was there.
    if (places.length && place <= (places.at(-1) as number)) values[values.length - 1] = value;
    else { places.push(place); values.push(value); }
  };
  let until = -Infinity;
  each.ring.since(from, (start, end, sent, _paused, held) => {
    if (start > until + 1 && until > -Infinity) add(rate, until, 0);
    add(rate, start, sent);
    add(queue, end, held);
    until = end;
  });
  if (now - until > SILENT_MS) add(rate, Math.max(until, from), 0);
  add(queue, now, each.now.queue);
  add(rate, now, rate[1].at(-1) ?? 0);
  return { queue, rate };
}

/** Return the part with the queues. */
export function queuesPart(): Part<Shown> {
  const bars = Array.from({ length: BARS }, bar);
  const body = h("div", { class: "lanes" }, ...bars.map((each) => each.row));
  const none = h("p", {}, "No port has told of a queue yet.");
  const queue = new Plot({ lines: ["queue"], thresholds: [], across: ago, up: format.bytes, what: "when" });
  const rate = new Plot({ lines: ["sends"], thresholds: [], across: ago, up: format.rate, what: "when" });
  const chooser = h("span");
  let [known, chosen, tableAt]: [string, string, number] = ["", "", 0];
  let drawnLab: Lab | null = null;
  const rows = new Refreshed(() => queueTable(drawnLab));

  const offer = (lab: Lab): void => {
    const now = `${lab.name} ${[...lab.ports.keys()].join()}`;
    if (now === known || chooser.contains(document.activeElement)) return;
    const keys = [...lab.ports.keys()].sort(byName);
    known = now;
    if (!lab.ports.has(chosen)) chosen = "";
    chooser.replaceChildren(choice("Port", ["that with the largest queue", ...keys.map((key) => key.replace(" ", " · "))], chosen ? keys.indexOf(chosen) + 1 : 0, (index) => {
      chosen = keys[index - 1] ?? "";
    }));
  };

  const draw = ({ lab }: Shown, now: number): void => {
    drawnLab = lab;
    const order = [...(lab?.ports.values() ?? [])].sort((a, b) => b.most - a.most || byName(nameOf(a), nameOf(b)));
    const most = Math.max(order[0]?.most ?? 0, 1);
    none.hidden = order.length > 0;
    bars.forEach((each, index) => {
      const port = order[index];
      each.row.hidden = !port;
      if (!port) return;
      say(each.name, nameOf(port));
      const text = `${format.bytes(port.now.queue)}, at most ${format.bytes(port.most)}`;
      if (each.value.textContent === text) return;
      say(each.value, text);
      const [wide, mark] = [(port.now.queue / most) * WIDE, (port.most / most) * (WIDE - 3)];
      each.strip.setAttribute("aria-label", `${nameOf(port)}: ${text}`);
      each.strip.replaceChildren(stripPicture([["plan", `M0 1h${mark.toFixed(1)}v14H0z`], ["s0-fill", `M0 3h${wide.toFixed(1)}v10H0z`], ["most", `M${mark.toFixed(1)} 1h3v14h-3z`]]));
    });
    if (!lab) return;
    offer(lab);
    const shown = lab.ports.get(chosen) ?? order[0];
    if (shown) {
      const drawn = steps(shown, now - WINDOW_MS, now);
      queue.set(drawn.queue[0], [drawn.queue[1]], largest(`Queue of ${nameOf(shown)}`, [{ name: "queue", values: drawn.queue[1] }], format.bytes));
      rate.set(drawn.rate[0], [drawn.rate[1]], largest(`What ${nameOf(shown)} sends`, [{ name: "rate", values: drawn.rate[1] }], format.rate));
      say(which, `${nameOf(shown)} over the last two minutes: its queue, and what it sends in nominal time.`);
    }
    if (now - tableAt < TABLE_MS) return;
    tableAt = now;
    rows.refresh();
  };

  const which = h("figcaption", {}, "One port over the last two minutes.");
  const over = h("figure", {}, which, h("div", { class: "controls" }, chooser), h("div", { class: "beside" }, h("div", {}, queue.element), h("div", {}, rate.element)));
  const sentence = `The ${BARS} ports that held most since this page looks: the bar is what they hold now, the mark the most.`;
  const section = sectionElement({ id: "queues", title: "Queues", body: [figure(sentence, h("div", {}, body, none), () => rows.open()), over] }, "");
  return { element: section, everyMs: EVERY_MS, draw };
}

function queueTable(lab: Lab | null): HTMLElement {
  return table("Queues of ports", [...(lab?.ports.values() ?? [])], [
    { name: "port", cell: (each) => each.port, key: (each) => each.port },
    { name: "priority", number: true, cell: (each) => each.priority },
    { name: "queue now", number: true, cell: (each) => format.bytes(each.now.queue), key: (each) => each.now.queue },
    { name: "largest seen", number: true, cell: (each) => format.bytes(each.most), key: (each) => each.most },
    { name: "held at its ingress, peak", number: true, cell: (each) => format.bytes(each.now.held), key: (each) => each.now.held },
    { name: "sends", number: true, cell: (each) => format.rate(lab?.rateOf(each) ?? 0), key: (each) => lab?.rateOf(each) ?? 0 },
    { name: "frames lost", number: true, cell: (each) => format.count(each.now.dropped), key: (each) => each.now.dropped, mark: (each) => (each.now.dropped ? "bad" : "") },
  ]);
}
