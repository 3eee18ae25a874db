/** The state of the page: models, the chosen one, its parameters, the photos; redraws after a change. */

import { isOver } from "./api.js";
import { translated } from "./words.js";

export const state = { models: [], model: null, params: {}, items: [], current: null, sendOriginal: false, look: null, pace: null };
// `pace`: seconds a photo, once several have ended

const GATHER_MS = 30;
const drawers = new Set();

let chosen;
/** Resolves when the first model is chosen: the answer that listed it has set the identity cookie. */
export const ready = new Promise((resolve) => (chosen = resolve));

export function chooseModel(name) {
  state.model = name;
  chosen();
  changed();
}

/** Call `draw` now and after every change; after one of a single item with that item. */
export function onChange(draw) {
  drawers.add(draw);
  draw();
}

/** Something has changed; `item`: nothing but that one. */
export const changed = (item) => drawers.forEach((draw) => draw(item));

/** A drawer that is called once for all changes of a frame, for what looks at all items. */
export function gathered(draw) {
  let isAsked = false;
  return () => {
    if (isAsked) return;
    isAsked = true;
    setTimeout(() => {
      isAsked = false;
      draw();
    }, GATHER_MS);
  };
}
export const modelNamed = (name) => state.models.find((model) => model.name === name);

/** Whether the chosen model takes volumes: series of slices. */
export const takesVolumes = (model = state.model) => modelNamed(model)?.input === "volume";

/** An element from our own markup, in the page's language. Text from elsewhere must be set by textContent. */
export const make = (html) => translated(document.createRange().createContextualFragment(html.trim()).firstElementChild);

/** Model and parameters of a run that begins now; the schema's defaults before the form was touched. */
export function request() {
  const defaults = shownOf(state.model).map(([name, about]) => [name, about.default]).filter(([, value]) => value != null);
  return { model: state.model, params: state.params[state.model] ?? Object.fromEntries(defaults) };
}

/** A request as it is sent: without defaults that have something lighter, which the server may use under load. */
export function sent({ model, params, ...others }) {
  const fields = modelNamed(model)?.params.properties ?? {};
  const mayChange = ([name, value]) => (name === "profile" || "x-lighter" in (fields[name] ?? {})) && value === fields[name]?.default;
  return { ...others, model, params: Object.fromEntries(Object.entries(params).filter((of) => !mayChange(of))) };
}

/** [name, schema] of the parameters that the form has; the viewer does the others itself. */
function shownOf(model) {
  return Object.entries(modelNamed(model)?.params.properties ?? {}).filter(([, about]) => !about["x-in-viewer"]);
}

/** Two requests of one sign have the same form. */
const signOf = ({ model, params }) => JSON.stringify([model, shownOf(model).map(([name, about]) => params[name] ?? about.default)]);

/**
 * {output}: the objects that the viewer needs of a model's result; {} for those that come by themselves. The photo as
 * the server reads it is needed where this browser cannot read it, or not as well.
 */
export function outputsOf(model, { size, header }) {
  if (modelNamed(model)?.kind !== "matte") return {};
  const photo = size === null || header?.isUnusual ? ["photo"] : [];
  return { output: ["alpha", "preview", "edge_colours", ...photo] };
}

/** The parameters by which the API gives the picture that the viewer shows; a picture of one's own has no name there. */
export function lookParams({ background, isCropped, margin }) {
  const ground = background && background !== "picture" ? { background } : {};
  return { ...ground, ...(isCropped ? { crop: "subject", margin } : {}) };
}

/** The items that another run would change: none of their photo has been asked for as the form says now. A photo is nothing for a model of volumes. */
export function staleItems() {
  const sign = signOf(request());
  const asked = state.items.filter((item) => item.request && takesVolumes(item.request.model) === takesVolumes());
  const fresh = new Set(asked.filter((item) => signOf(item.request) === sign).map((item) => item.photo));
  const stale = new Map(asked.filter((item) => !isBusy(item) && !fresh.has(item.photo)).map((item) => [item.photo, item]));
  if (stale.has(state.current?.photo)) stale.set(state.current.photo, state.current);
  return [...stale.values()];
}
export const isBusy = (item) => !isOver({ state: item.phase });

/** Called by the form with the values of all its fields, in their order. Empty fields have the default. */
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
    return value; // the server's error will say what is wrong
  }
}

window.pixelmill = { setParams };
