// Pictures that are drawn for the width that they have, so that their text stays readable at each.

import { h } from "./dom";

const FIRST = 720;

/** Make a frame in which `draw` makes a picture for a width in pixels, anew whenever that changes. */
export function responsive(draw: (width: number) => Element): HTMLElement {
  const frame = h("div", { class: "drawn" });
  let width = 0;
  const redraw = (to: number): void => {
    if (to < 40 || Math.abs(to - width) < 2) return;
    width = to;
    frame.replaceChildren(draw(Math.round(to)));
  };
  redraw(FIRST);
  new ResizeObserver((entries) => redraw(entries[0]?.contentRect.width ?? 0)).observe(frame);
  return frame;
}
