// The topology of the chosen lab, coloured by the last look.

import { h } from "../dom";
import type { FabricLink } from "../model";
import { figure, paragraph, sectionElement } from "../section";
import { Drawing, framed, legends, linkTable, pictureControls, type Load } from "../topology";
import type { Shown } from "./overview";
import { Refreshed } from "./parts";
import type { Lab } from "./store";
import type { Part } from "./work";

const TABLE_MS = 2_000;

/** Return what each direction of each link carries, and for which share its ports were paused. */
function loadsOf(lab: Lab, links: readonly FabricLink[]): Load[] {
  const ports = new Map<string, { rate: number; paused: number }>();
  for (const each of lab.ports.values()) {
    const sum = ports.get(each.port) ?? { rate: 0, paused: 0 };
    sum.rate += lab.rateOf(each);
    sum.paused = Math.max(sum.paused, lab.pausedOf(each));
    ports.set(each.port, sum);
  }
  const carried = (port: string): number => Math.min((ports.get(port)?.rate ?? 0) / (lab.rates.get(port) ?? Infinity), 1);
  const paused = (port: string): number => ports.get(port)?.paused ?? 0;
  return links.map((link, index) => ({ link: index, carried: [carried(link.a), carried(link.b)], paused: [paused(link.a), paused(link.b)] }));
}

/** Return the part with the picture of the lab. */
export function topologyPart(): Part<Shown> {
  const frame = h("div");
  const section = sectionElement({ id: "topology", title: "Topology", body: [frame] }, "");
  let drawn: { lab: Lab; version: number; picture: Drawing | null; links: readonly FabricLink[]; table: Refreshed } | null = null;
  let tableAt = 0;

  const make = (lab: Lab): NonNullable<typeof drawn> => {
    const { topology } = lab;
    const fabric = topology?.fabric;
    const links = topology?.links.map((link): FabricLink => {
      const [a, b] = link.link.split(" - ") as [string, string];
      return { a, b, path: "", from: a };
    }) ?? [];
    const table = new Refreshed(() => linkTable("Links by direction, at the last look", topology?.links ?? [], loadsOf(lab, links), { width: 0, height: 0, box: 0, nodes: [], links, frames: [] }));
    if (!topology || !fabric) {
      frame.replaceChildren(paragraph(topology ? "This lab was deployed without its description, so there is no picture of it." : "No agent has told what this lab is."), ...(links.length ? [table.open()] : []));
      return { lab, version: lab.version, picture: null, links, table };
    }
    const picture = new Drawing(fabric, topology.links, lab.name);
    const sentence = "Each half of a link has the colour of what its end sends now, as a share of the rate; a dot is a port that is paused.";
    frame.replaceChildren(figure(sentence, framed(picture), () => table.open(), ...pictureControls(picture, fabric)), legends());
    return { lab, version: lab.version, picture, links, table };
  };

  const draw = ({ lab }: Shown, now: number): void => {
    if (!lab) {
      drawn = null;
      frame.replaceChildren(paragraph("No lab is chosen."));
      return;
    }
    if (drawn?.lab !== lab || drawn.version !== lab.version) drawn = make(lab);
    drawn.picture?.show(loadsOf(lab, drawn.links));
    if (now - tableAt < TABLE_MS) return;
    tableAt = now;
    drawn.table.refresh();
  };
  return { element: section, everyMs: 90, draw };
}
