/** Shortcuts work anywhere on the page, but where somebody types. `?` lists them. */

import { t } from "./words.js";

const TYPING = "input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable], dialog";

/** Whether a key press is nobody's: no element has used it, nobody types, and no dialog is open. */
export function isFree(event) {
  const { target, defaultPrevented, ctrlKey, metaKey, altKey } = event;
  return !(defaultPrevented || ctrlKey || metaKey || altKey || target.closest?.(TYPING) || document.querySelector("dialog[open]"));
}

/** `?` and `button` show the list; `o` presses `picker`. */
export function offerShortcuts(button, picker) {
  const show = () => import("./help/shortcuts.js").then((help) => help.show());
  button.setAttribute("aria-label", t("Keyboard shortcuts"));
  button.onclick = show;
  document.addEventListener("keydown", (event) => {
    const act = isFree(event) && { "?": show, o: () => picker()?.click() }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  });
}
