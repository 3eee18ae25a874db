/** The page's entry: Gradio loads it and calls one function for each place. */

import { make } from "./state.js";

export { mountChooser, mountRunBar } from "./chooser.js";
export { mountWorkbench } from "./workbench.js";

const THEME = "pixelmill.theme";

export function mountHeader(element) {
  const root = element.querySelector(".pm-header");
  root.append(
    make(`<header><img src="/static/icon.svg" alt="" width="28" height="28"><h1>Pixelmill</h1>
      <nav><a href="/docs">API</a><button type="button" aria-label="Switch between light and dark">◐</button></nav></header>`),
  );
  const dark = localStorage.getItem(THEME);
  if (dark) document.body.classList.toggle("dark", dark === "dark");
  root.querySelector("button").onclick = () => {
    const now = document.body.classList.toggle("dark") ? "dark" : "light";
    localStorage.setItem(THEME, now);
  };
}
