// Parts of a report: a heading and what stands below, and pictures with their text beside.

import { h, uniqueId, type Child } from "./dom";

export interface Section {
  id: string;
  title: string;
  body: Child[];
}

/** Make the element of a section. */
export function sectionElement(section: Section, prefix: string): HTMLElement {
  const id = prefix + section.id;
  return h("section", { id, "aria-labelledby": `${id}-title` }, h("h2", { id: `${id}-title` }, section.title), ...section.body);
}

/** Make a picture with what it shows in a sentence, and the same as a table, made when somebody opens it. */
export function figure(sentence: string, drawn: Child, alternative: (() => HTMLElement) | null, ...controls: Child[]): HTMLElement {
  const id = uniqueId("figure");
  const parts: Child[] = [h("figcaption", { id }, sentence)];
  if (controls.length) parts.push(h("div", { class: "controls" }, ...controls));
  parts.push(drawn);
  if (alternative) parts.push(folded("As a table", alternative));
  return h("figure", { "aria-labelledby": id }, ...parts);
}

const fillers = new WeakMap<HTMLDetailsElement, () => void>();

/** Make a part that is closed at first, and filled when it is opened. */
export function folded(title: string, fill: () => Child): HTMLDetailsElement {
  const details = h("details", {}, h("summary", {}, title));
  const once = (): void => {
    if (!details.open || details.dataset["filled"]) return;
    details.dataset["filled"] = "yes";
    const content = fill();
    if (content !== null && content !== undefined && content !== false) details.append(content instanceof Node ? content : String(content));
  };
  details.addEventListener("toggle", once);
  fillers.set(details, once);
  return details;
}

/** Open a part and those within while the page is printed: nobody can click on paper. */
export function openOnPaper(part: HTMLDetailsElement): void {
  let opened: HTMLDetailsElement[] = [];
  addEventListener("beforeprint", () => { opened = unfold(part); });
  addEventListener("afterprint", () => { for (const each of opened) each.open = false; });
}

/** Open a part and those within, and return those that were closed. */
function unfold(part: HTMLDetailsElement): HTMLDetailsElement[] {
  const wasOpen = part.open;
  part.open = true;
  fillers.get(part)?.();
  const within = [...part.querySelectorAll("details")].flatMap(unfold);
  return wasOpen ? within : [part, ...within];
}

/** Make a paragraph. */
export const paragraph = (text: string, kind = ""): HTMLElement => h("p", { class: kind }, text);
