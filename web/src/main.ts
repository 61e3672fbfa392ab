// A report: reads the document of the page and puts its sections into it, in the order in which they are read.

import "uplot/dist/uPlot.min.css";
import "./style.css";

import { buffersSection } from "./buffers";
import { compared } from "./compare";
import { h } from "./dom";
import { energySection } from "./energy";
import { flowsSection } from "./flows";
import { lanesSection } from "./lanes";
import { readDocument, type Report, type ShownRun } from "./model";
import { jobsSection, ranksSection } from "./ranks";
import { sectionElement, type Section } from "./section";
import { expectationsSection, fidelitySection, portsSection, settingsSection } from "./settings";
import { sweepSections } from "./sweep";
import { themes } from "./themes";
import { topologySection } from "./topology";
import { verdictSection } from "./verdict";

type Part = (shown: ShownRun) => Section | null;
const PARTS: readonly Part[] = [
  verdictSection, topologySection, lanesSection, buffersSection, ranksSection, flowsSection, jobsSection, energySection,
  expectationsSection, fidelitySection, portsSection, settingsSection,
];

/** Return the parts of a report, each with what its names begin with: runs first, then sweeps. */
function sections(report: Report): [Section, string][] {
  const [run] = report.runs;
  const ofRuns = report.runs.length > 1 ? compared(report.runs, PARTS) : run ? PARTS.map((part) => part(run)).filter((section) => section !== null) : [];
  const ofSweeps = report.sweeps.flatMap((sweep, index) => sweepSections(sweep).map((section): [Section, string] => {
    const isAlone = report.sweeps.length === 1 && !report.runs.length;
    return [isAlone ? section : { ...section, title: `${section.title}: ${sweep.name}` }, isAlone ? "" : `sweep-${index}-`];
  }));
  return [...ofRuns.map((section): [Section, string] => [section, ""]), ...ofSweeps];
}

function show(report: Report): HTMLElement[] {
  const all = sections(report);
  const nav = h("nav", { "aria-label": "Sections" }, h("ul", {}, ...all.map(([each, prefix]) => h("li", {}, h("a", { href: `#${prefix}${each.id}` }, each.title)))));
  return [
    h("a", { class: "skip", href: "#content" }, "Skip to the content"),
    h("header", {}, h("h1", {}, report.title), themes(), nav),
    h("main", { id: "content", tabindex: -1 }, ...all.map(([each, prefix]) => sectionElement(each, prefix))),
  ];
}

async function start(): Promise<void> {
  const root = document.getElementById("report");
  try {
    root?.replaceChildren(...show(await readDocument()));
    document.documentElement.dataset["ready"] = "yes";
  } catch (fault) {
    root?.replaceChildren(h("p", { role: "alert" }, `This report cannot be shown: ${String(fault)}`));
    throw fault;
  }
}

void start();
