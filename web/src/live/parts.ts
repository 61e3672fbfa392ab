// What parts of the live page share: figures that change in their place, and tables that are made anew while they are open.

import { h } from "../dom";

/** Set a text where it is another than before. */
export function say(element: Element, text: string): void {
  if (element.textContent !== text) element.textContent = text;
}

/** Figures with their names, whose values change in their place. */
export class Tiles {
  readonly element = h("dl", { class: "tiles" });
  private readonly known = new Map<string, { tile: HTMLElement; value: HTMLElement }>();

  /** Show these figures; those without a text are left out. */
  set(figures: readonly (readonly [string, string])[]): void {
    for (const [name, text] of figures) {
      let entry = this.known.get(name);
      if (!entry) {
        const value = h("dd");
        entry = { tile: h("div", {}, h("dt", {}, name), value), value };
        this.known.set(name, entry);
        this.element.append(entry.tile);
      }
      entry.tile.hidden = text === "";
      say(entry.value, text);
    }
  }
}

/** A table that is made anew now and then, but not while somebody is in it. */
export class Refreshed {
  readonly element = h("div");

  constructor(private readonly make: () => HTMLElement) {}

  /** Make it for the first time. */
  open(): HTMLElement {
    this.element.replaceChildren(this.make());
    return this.element;
  }

  refresh(): void {
    const { element } = this;
    if (!element.isConnected || !element.checkVisibility() || element.contains(document.activeElement) || element.matches(":hover")) return;
    element.replaceChildren(this.make());
  }
}
