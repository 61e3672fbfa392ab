// A report: reads the document of the page and puts its sections into it, in the order in which they are read.

import "uplot/dist/uPlot.min.css";
import "./style.css";

import { button, h } from "./dom";
import { readDocument, type Report, type ShownRun } from "./model";
import { sectionElement, type Section } from "./section";
import { expectationsSection, fidelitySection, portsSection, settingsSection } from "./settings";
import { topologySection } from "./topology";
import { verdictSection } from "./verdict";

type Part = (shown: ShownRun) => Section | null;
const PARTS: readonly Part[] = [verdictSection, topologySection, expectationsSection, fidelitySection, portsSection, settingsSection];

function sections(shown: ShownRun): Section[] {
  return PARTS.map((part) => part(shown)).filter((section): section is Section => section !== null);
}

function themes(): HTMLElement {
  const names = ["As the system", "Light", "Dark"] as const;
  let chosen = 0;
  const change = button(`Colours: ${names[0]}`, () => {
    chosen = (chosen + 1) % names.length;
    const theme = ["", "light", "dark"][chosen] as string;
    if (theme) document.documentElement.dataset["theme"] = theme;
    else delete document.documentElement.dataset["theme"];
    change.textContent = `Colours: ${names[chosen]}`;
    document.dispatchEvent(new Event("themechange"));
  }, { class: "theme" });
  return change;
}

function show(report: Report): HTMLElement[] {
  const [run] = report.runs;
  const all = run ? sections(run) : [];
  const nav = h("nav", { "aria-label": "Sections" }, h("ul", {}, ...all.map((each) => h("li", {}, h("a", { href: `#${each.id}` }, each.title)))));
  return [
    h("a", { class: "skip", href: "#verdict" }, "Skip to the verdict"),
    h("header", {}, h("h1", {}, report.title), themes(), nav),
    h("main", {}, ...all.map((each) => sectionElement(each, ""))),
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
