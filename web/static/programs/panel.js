/** `For programs`: the job as JSON, and its request as a program; loaded when it is first opened. */

import { call, ROOT } from "../api.js";
import { lookParams, make, modelNamed, request, state } from "../state.js";
import { t } from "../words.js";
import { snippets } from "./snippets.js";

const PLACEHOLDER = "YOUR_API_KEY";
const NEW_KEY = { name: "For programs", scopes: ["run", "read"], days: 90 };

const MARKUP = `<div>
  <div class="tabs" role="group" aria-label="Show as"></div>
  <p class="key note" hidden><span>A program needs an API key in the place of YOUR_API_KEY.</span> <button type="button">Make a key</button></p>
  <pre tabindex="0" translate="no"></pre><button type="button" class="copy">Copy</button> <span role="status"></span>
</div>`;

/** Fills the element; the answer draws it anew. */
export function panel(root) {
  const content = make(MARKUP);
  root.append(content);
  const find = (selector) => content.querySelector(selector);
  let shown = "JSON";
  let key = null; // none is needed, or it is not known yet
  const draw = () => {
    const job = JSON.stringify(state.current?.job, null, 2) ?? "";
    find("pre").textContent = { JSON: job, ...snippets(asked(), location.origin + ROOT, key) }[shown];
    find(".key").hidden = key !== PLACEHOLDER || shown === "JSON";
    for (const tab of find(".tabs").children) tab.setAttribute("aria-pressed", tab.textContent === shown);
  };
  for (const name of ["JSON", "curl", "Python", "JavaScript"]) {
    const tab = make(`<button type="button">${name}</button>`);
    tab.onclick = () => draw((shown = name));
    find(".tabs").append(tab);
  }
  const say = (text) => (find("[role=status]").textContent = text);
  find(".key button").onclick = async ({ currentTarget }) => {
    currentTarget.disabled = true; // one key for a double click
    try {
      key = (await call("POST", "/me/keys", NEW_KEY)).key;
      say(t("The key ends in {count} days. You find it under API keys.", { count: NEW_KEY.days }));
    } catch (error) {
      say([error.message, error.hint].filter(Boolean).join(" "));
    } finally {
      currentTarget.disabled = false;
    }
    draw();
  };
  find(".copy").onclick = () => copy(find("pre")).then(say, ({ message }) => say(t("That failed: {reason}", { reason: message })));
  call("GET", "/me").then(({ kind }) => kind !== "browser" && draw((key = PLACEHOLDER)), () => {});
  draw();
  return draw;
}

/** Copies the text; where browsers forbid that, it is selected. The answer says which. */
async function copy(element) {
  if (navigator.clipboard) {
    await navigator.clipboard.writeText(element.textContent);
    return t("Copied.");
  }
  getSelection().selectAllChildren(element);
  return t("Browsers copy only on https addresses. It is selected: press Ctrl+C.");
}

/** The request of the current photo, with what the viewer makes of its result. */
function asked() {
  const { model, params } = state.current?.request ?? request();
  const kind = modelNamed(model)?.kind;
  const look = kind === "matte" && state.look ? lookParams(state.look) : {};
  return { model, kind, params: { ...params, ...look } };
}
