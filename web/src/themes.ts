// Colours: those of the system, or light or dark by choice.

import { button } from "./dom";

/** Make the button that changes the colours; pictures that must be drawn anew hear of `themechange`. */
export function themes(): HTMLElement {
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
