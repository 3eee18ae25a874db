/** The page's entry: Gradio calls one `mount...` function per element. Here: header, models, run bar. */

import { listModels } from "./api.js";
import { run } from "./items.js";
import { mountQuota } from "./quota.js";
import { changed, chooseModel, gathered, isBusy, isStale, make, modelNamed, onChange, state } from "./state.js";
import { language, LANGUAGES, learn, t } from "./words.js";

export { mountWorkbench } from "./workbench.js";

const THEME = "pixelmill.theme";
const REFRESH_MS = 20_000;
const MODEL = "pixelmill.model";

export function mountHeader(element) {
  const root = element.querySelector(".pm-header");
  root.append(
    make(`<header><img src="/static/icon.svg" alt="" width="28" height="28"><h1>Pixelmill</h1>
      <nav><a href="/account/keys">API keys</a><a href="/docs">API</a><span class="languages"></span><button type="button" aria-label="Switch between light and dark">◐</button></nav></header>`),
  );
  root.querySelector(".languages").append(...otherLanguages());
  const stored = localStorage.getItem(THEME);
  if (stored) document.body.classList.toggle("dark", stored === "dark");
  root.querySelector("button").onclick = () => {
    const theme = document.body.classList.toggle("dark") ? "dark" : "light";
    localStorage.setItem(THEME, theme);
  };
}

/** Links to the page in the other languages; photos and results are still there then. */
function otherLanguages() {
  const others = Object.entries(LANGUAGES).filter(([code]) => code !== language);
  return others.map(([code, name]) => make(`<a href="?lang=${code}" lang="${code}" hreflang="${code}">${name}</a>`));
}

/** Radio buttons for the models, refreshed; Gradio draws the form of the model named by `props.value`. */
export function mountChooser(element, props) {
  const root = element.querySelector(".pm-chooser");
  const select = (name) => {
    props.value = name;
    sessionStorage.setItem(MODEL, name);
    chooseModel(name);
  };
  const refresh = async (options) => {
    const models = await listModels(options);
    if (JSON.stringify(models) === JSON.stringify(state.models)) return;
    state.models = models;
    models.forEach(({ texts }) => learn(texts));
    if (!state.model && models.length) select(first(models));
    root.replaceChildren(menu(models, select));
    changed();
  };
  const start = () =>
    refresh().catch((error) => {
      const note = make(`<p class="note"><b></b> <span></span> <button type="button">Try again</button></p>`);
      note.querySelector("b").textContent = error.message;
      note.querySelector("span").textContent = error.hint ?? "";
      note.querySelector("button").onclick = start;
      root.replaceChildren(note);
    });
  root.replaceChildren(make(`<p class="note">Loading models…</p>`));
  start();
  setInterval(() => document.hidden || refresh({ fresh: true }).catch(() => {}), REFRESH_MS);
}

function first(models) {
  const remembered = sessionStorage.getItem(MODEL);
  const live = models.filter((model) => model.live);
  const named = [remembered, "matting"].map((name) => live.find((model) => model.name === name));
  return (named[0] ?? named[1] ?? live[0] ?? models[0]).name;
}

function menu(models, select) {
  if (!models.length) return make(`<p class="note">No model is running yet. A model appears here once its worker runs.</p>`);
  const fieldset = make(`<fieldset class="models"><legend>Model</legend></fieldset>`);
  for (const { name, title, intended_use, live } of models) {
    const card = make(`<label><input type="radio" name="pm-model"><b></b><em>not running</em><span></span></label>`);
    card.querySelector("b").textContent = t(title);
    card.querySelector("span").textContent = t(intended_use);
    card.querySelector("em").hidden = live;
    const radio = card.querySelector("input");
    Object.assign(radio, { value: name, checked: name === state.model, onchange: () => select(name) });
    fieldset.append(card);
  }
  return fieldset;
}

/** `Run again` if model or parameters are no longer those of the results; how photos are sent. */
export function mountRunBar(element) {
  const root = element.querySelector(".pm-runbar");
  root.append(
    make(`<div class="again"><p>Options changed. The photo is not sent again.</p>
      <button type="button" class="primary" data-run="one">Run again</button>
      <button type="button" data-run="all"></button></div>`),
    make(`<label class="switch"><input type="checkbox"><span><b>Send originals</b>
      Otherwise photos above 2048 px are shrunk first, which is faster; downloads keep their full size.</span></label>`),
  );
  mountQuota(root);
  const [again, all] = [".again", "[data-run=all]"].map((selector) => root.querySelector(selector));
  const stale = () => state.items.filter((item) => isStale(item) && !isBusy(item));
  root.querySelector("[data-run=one]").onclick = () => run(state.current);
  all.onclick = () => stale().forEach(run);
  root.querySelector("input").onchange = ({ target }) => (state.sendOriginal = target.checked);
  const draw = () => {
    const items = stale();
    again.hidden = !items.includes(state.current) || !modelNamed(state.model);
    all.hidden = items.length < 2;
    all.textContent = t("Run all {count}", { count: items.length });
  };
  onChange(gathered(draw));
  draw();
}
