/** The page's entry: Gradio calls one `mount...` function per element. Here: header, models, run bar. */

import { listModels, ROOT } from "./api.js";
import { runBeside } from "./items.js";
import { offerShortcuts } from "./keys.js";
import { changed, chooseModel, gathered, make, modelNamed, onChange, staleItems, state, takesVolumes } from "./state.js";
import { language, LANGUAGES, learn, t } from "./words.js";

export { mountWorkbench } from "./workbench.js";

const YEAR_S = 31_536_000;
const REFRESH_MS = 20_000;
const MODEL = "pixelmill.model";
const DEFAULT = "matting";

export function mountHeader(element) {
  const root = element.querySelector(".pm-header");
  root.append(
    make(`<header><img src="${ROOT}/static/icon.svg" alt="" width="28" height="28"><h1>Pixelmill</h1>
      <div class="views" role="group" aria-label="Views"><button type="button" data-view="photos">Photos</button><button type="button" data-view="history">History</button></div>
      <nav><a class="account" href="${ROOT}/account">Account</a><a href="${ROOT}/docs">API</a><span class="languages"></span><button type="button" class="keys">?</button><button type="button" class="theme" aria-label="Switch between light and dark">◐</button></nav></header>`),
  );
  root.querySelector(".languages").append(...otherLanguages());
  offerShortcuts(root.querySelector(".keys"), () => document.querySelector(".drop input"));
  const [, scheme] = document.cookie.match(/(?:^|; )pixelmill_scheme=(\w+)/) ?? [];
  if (scheme) document.body.classList.toggle("dark", scheme === "dark");
  root.querySelector(".views").onclick = ({ target }) => target.dataset.view && (location.hash = target.dataset.view);
  root.querySelector(".theme").onclick = () => {
    const scheme = document.body.classList.toggle("dark") ? "dark" : "light";
    document.cookie = `pixelmill_scheme=${scheme}; path=/; max-age=${YEAR_S}; samesite=lax`; // the other pages follow
  };
}

/** The name of who has signed in, and the way out; visitors have neither. */
function showUser({ user, kind }) {
  const link = document.querySelector(".pm-header .account");
  if (kind === "browser" || link.textContent === user) return;
  link.textContent = user;
  link.translate = false;
  if (kind !== "proxy") link.after(make(`<form method="post" action="${ROOT}/logout"><button>Sign out</button></form>`));
}

/** Links to the page in the other languages; photos and results are still there then. */
function otherLanguages() {
  const others = Object.entries(LANGUAGES).filter(([code]) => code !== language);
  return others.map(([code, name]) => make(`<a href="?lang=${code}" lang="${code}" hreflang="${code}">${name}</a>`));
}

/** The list of what the server keeps, which is loaded when it is first opened; the address says which view is shown. */
export function mountHistory(element) {
  const root = element.querySelector(".pm-history");
  let list;
  const show = async () => {
    const view = location.hash === "#history" ? "history" : "photos";
    document.body.dataset.view = view;
    for (const button of document.querySelectorAll(".views button")) button.setAttribute("aria-current", button.dataset.view === view);
    for (const link of document.querySelectorAll(".languages a")) link.hash = location.hash; // the view stays
    if (view === "history") list ??= import("./history/history.js").then(({ History }) => new History(root));
    await list?.then((shown) => shown.toggle(view === "history"), () => (list = null)); // it is asked for again
  };
  addEventListener("hashchange", show);
  show();
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
    const models = ordered(await listModels(options));
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
  return (live.find(({ name }) => name === remembered) ?? live[0] ?? models[0]).name;
}

/** The model that is chosen at first comes first, those that do not run last. */
const ordered = (models) => models.toSorted((a, b) => b.live - a.live || (b.name === DEFAULT) - (a.name === DEFAULT));

function menu(models, select) {
  if (!models.length) return make(`<p class="note">No model is running yet. A model appears here once its worker runs.</p>`);
  const fieldset = make(`<fieldset class="models"><legend>Model</legend></fieldset>`);
  for (const { name, title, intended_use, live } of models) {
    const card = make(`<label><input type="radio" name="pm-model"><b></b><em>not running</em><span></span></label>`);
    card.querySelector("b").textContent = t(title);
    card.querySelector("span").textContent = t(intended_use);
    card.querySelector("em").hidden = live;
    const radio = card.querySelector("input");
    radio.hidden = models.length === 1; // nothing to choose
    Object.assign(radio, { value: name, checked: name === state.model, onchange: () => select(name) });
    fieldset.append(card);
  }
  return fieldset;
}

/** Gradio gives each radio button a name of its own, and their field none. */
function groupRadios() {
  for (const field of document.querySelectorAll("#pm-options fieldset")) {
    const radios = field.querySelectorAll("[type=radio]");
    for (const radio of radios) if (radio.name !== radios[0].name) radio.name = radios[0].name; // arrows choose then
    field.ariaLabel = field.querySelector("[data-testid=block-info]")?.textContent;
  }
}

/** `Run again` if model or parameters are no longer those of the results; how photos are sent. */
export function mountRunBar(element) {
  const root = element.querySelector(".pm-runbar");
  groupRadios(); // the form may be there already
  new MutationObserver(groupRadios).observe(element.closest("#pm-options"), { attributeFilter: ["name"], childList: true, subtree: true });
  root.append(
    make(`<div class="again"><p data-for="image">Options changed. The result stays, the new one comes beside it, and the photo is not sent again.</p>
      <p data-for="volume">Options changed. The result stays, the new one comes beside it.</p>
      <button type="button" class="primary" data-run="one">Run again</button>
      <button type="button" data-run="all"></button></div>`),
    make(`<label class="switch" data-for="image"><input type="checkbox"><span><b>Send originals</b>
      Else large photos (above 2048 px or 1 MB) go as a smaller copy, which is faster. Cut-outs have the full size either way.</span></label>`),
    make(`<p class="note plan" role="status" data-for="image"></p>`),
  );
  import("./quota/quota.js").then(({ mountQuota }) => mountQuota(root, showUser));
  const [again, all] = [".again", "[data-run=all]"].map((selector) => root.querySelector(selector));
  root.querySelector("[data-run=one]").onclick = () => runBeside(state.current);
  all.onclick = () => {
    const { current } = state;
    staleItems().forEach((item) => runBeside(item, item === current));
  };
  root.querySelector("input").onchange = ({ target }) => {
    state.sendOriginal = target.checked;
    tellPlan();
  };
  const tellPlan = async () => {
    const { current } = state;
    const text = current?.photo.header ? await (await import("./sources/plan.js")).planOf(current, state.sendOriginal) : "";
    if (current === state.current) root.querySelector(".plan").textContent = text;
  };
  const draw = () => {
    document.body.dataset.takes = takesVolumes() ? "volume" : "image";
    const items = staleItems();
    again.hidden = !items.includes(state.current) || !modelNamed(state.model);
    all.hidden = items.length < 2;
    all.textContent = t("Run all {count}", { count: items.length });
    tellPlan();
  };
  onChange(gathered(draw));
  draw();
}
