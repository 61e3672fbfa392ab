// Shares from 0 to 1 as steps of a scale of colours, which the style sheet has for light, dark and print.

import { h } from "./dom";

const BOUNDS = [0.005, 0.1, 0.25, 0.5, 0.75, 0.9] as const;
export const LEVELS = BOUNDS.length;

/** Return the step of a share: 0 for nearly nothing, 6 for nearly all. */
export function level(share: number): number {
  return BOUNDS.filter((bound) => share >= bound).length;
}

/** Make the legend of a scale; `kind` is u for utilisation, p for pauses. */
export function legend(kind: "u" | "p", title: string): HTMLElement {
  const names = ["none", ...BOUNDS.map((bound) => (bound < 0.1 ? "> 0" : `≥ ${bound * 100} %`))];
  return h("span", { class: "legend" }, `${title}: `, ...names.map((name, index) => h("span", { class: "step" }, h("i", { class: `swatch ${kind}${index}` }), name)));
}
