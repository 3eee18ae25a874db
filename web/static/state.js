/** What the page knows: models, the chosen one, its parameters, the photos; and who redraws after a change. */

import { isOver } from "./api.js";

export const state = { models: [], model: null, params: {}, items: [], current: null, sendOriginal: false };

const drawers = new Set();

let chosen;
/** Resolves when a model is chosen for the first time; the answer that named it has set the identity cookie. */
export const ready = new Promise((resolve) => (chosen = resolve));

export function chooseModel(name) {
  state.model = name;
  chosen();
  changed();
}

/** Call `draw` now and after every change. */
export function onChange(draw) {
  drawers.add(draw);
  draw();
}

export const changed = () => drawers.forEach((draw) => draw());
export const modelNamed = (name) => state.models.find((model) => model.name === name);

/** An element from markup that we wrote ourselves; text of others goes in by textContent. */
export const make = (html) => document.createRange().createContextualFragment(html.trim()).firstElementChild;

/** What a run would be asked with now; before the form was touched, the schema's defaults. */
export function request() {
  const properties = Object.entries(modelNamed(state.model)?.params.properties ?? {});
  const defaults = properties.map(([name, about]) => [name, about.default]).filter(([, value]) => value != null);
  return { model: state.model, params: state.params[state.model] ?? Object.fromEntries(defaults) };
}

export const isStale = (item) => Boolean(item.request) && JSON.stringify(item.request) !== JSON.stringify(request());
export const isBusy = (item) => !isOver({ state: item.phase });

/** Called by the form: the values of all its fields, in their order. Empty fields keep the default. */
function setParams(model, fields, values) {
  const named = fields.map(({ name, kind }, index) => [name, parsed(kind, values[index])]);
  state.params[model] = Object.fromEntries(named.filter(([, value]) => value !== undefined));
  changed();
}

function parsed(kind, value) {
  if (value == null || (value === "" && kind !== "text")) return undefined;
  if (kind !== "json") return value;
  try {
    return JSON.parse(value);
  } catch {
    return value; // the server says what is wrong with it
  }
}

window.pixelmill = { setParams };
