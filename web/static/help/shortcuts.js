/** The list of shortcuts; loaded when it is first asked for. */

import { make } from "../state.js";
import { t } from "../words.js";

const SHORTCUTS = [
  [["O"], "Choose photos"],
  [["←", "→"], "Previous or next photo"],
  [["+", "−"], "Zoom in or out"],
  [["0"], "Fit to the window"],
  [["B"], "Brush"],
  [["↑", "↓"], "Slice of a volume"],
  [["1", "2", "3"], "Window of a volume"],
  [["D"], "Download PNG"],
  [["C"], "Copy"],
  [["Ctrl V"], "Paste a photo"],
  [["?"], "Show this list"],
];

let dialog;

/** Show the list, or close it if it is shown. */
export function show() {
  dialog ??= drawn();
  if (dialog.open) dialog.close();
  else dialog.showModal();
}

function drawn() {
  const root = make(`<dialog class="pm-dialog" aria-labelledby="pm-shortcuts">
    <h2 id="pm-shortcuts">Keyboard shortcuts</h2><dl></dl><form method="dialog"><button class="primary">Close</button></form></dialog>`);
  const list = root.querySelector("dl");
  for (const [keys, text] of SHORTCUTS) {
    const row = make("<div><dt></dt><dd></dd></div>");
    row.querySelector("dt").append(...keys.map(keyOf));
    row.querySelector("dd").textContent = t(text);
    list.append(row);
  }
  root.addEventListener("click", ({ target }) => target === root && root.close()); // on what is behind it
  root.addEventListener("keydown", (event) => event.key === "?" && root.close());
  document.querySelector(".gradio-container").append(root); // whose colours it has
  return root;
}

function keyOf(name) {
  const key = document.createElement("kbd");
  key.textContent = name;
  return key;
}
