// Elements with their attributes and children. What comes from a run enters a page as text alone, never as markup.

export type Child = Node | string | number | null | undefined | false;
type Value = string | number | boolean | undefined | ((event: never) => void);
export type Attributes = Record<string, Value>;

const SVG = "http://www.w3.org/2000/svg";

function fill<T extends Element>(element: T, attributes: Attributes, children: Child[]): T {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === false) continue;
    if (typeof value === "function") element.addEventListener(name.slice(2), value as EventListener);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  for (const child of children) {
    if (child !== null && child !== undefined && child !== false) {
      element.append(typeof child === "number" ? String(child) : child);
    }
  }
  return element;
}

/** Make an element of HTML; an attribute `onclick` is a function, which is added as a listener. */
export function h<K extends keyof HTMLElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  return fill(document.createElement(tag), attributes, children);
}

/** Make an element of SVG. */
export function s<K extends keyof SVGElementTagNameMap>(tag: K, attributes: Attributes = {}, ...children: Child[]): SVGElementTagNameMap[K] {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

let last = 0;

/** Return a name that no other element of the page has. */
export function uniqueId(start: string): string {
  last += 1;
  return `${start}-${last}`;
}

/** Make a picture that a screen reader names by its label. */
export function picture(label: string, width: number, height: number, ...children: Child[]): SVGSVGElement {
  return s("svg", { role: "img", "aria-label": label, viewBox: `0 0 ${width} ${height}`, class: "picture" }, ...children);
}

/** Make a button. */
export function button(text: string, onclick: () => void, attributes: Attributes = {}): HTMLButtonElement {
  return h("button", { type: "button", ...attributes, onclick }, text);
}

/** Make a choice of one of several texts, with its label. */
export function choice(label: string, options: readonly string[], chosen: number, onchange: (index: number) => void): HTMLElement {
  const id = uniqueId("choice");
  const select = h("select", { id, onchange: () => onchange(select.selectedIndex) });
  options.forEach((option, index) => select.append(h("option", { selected: index === chosen }, option)));
  return h("span", { class: "choice" }, h("label", { for: id }, label), select);
}
