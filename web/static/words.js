/**
 * The page's language. Each text stands in the code in English, which is its name in languages/*.json. The server
 * remembers in a cookie what `?lang=` has chosen; without one it is the browser's first language that the page knows.
 */

/** By the value of `?lang=`. */
export const LANGUAGES = { en: "English", zh: "中文" };
export const language = chosen();

/** Only the catalogue of a language other than English is loaded. */
const catalogue = language === "en" ? null : await (await import("./languages/catalogue.js")).load(language);

document.documentElement.lang = catalogue?.tag ?? "en";

/** The text in the page's language, with `{name}` replaced by `values.name`; a sentence of the server has its values. */
export function t(text, values = {}) {
  return (catalogue?.find(text) ?? text).replace(/\{(\w+)\}/g, (all, name) => shown(values[name] ?? all));
}

/** Put the texts and the texts of attributes below `root`, which are ours, into the page's language. */
export const translated = (root) => catalogue?.translate(root) ?? root;

/** The texts that a model brings for its own names, by their English. */
export const learn = (texts) => catalogue?.learn(texts);

/** A point in time for people, as `options` of Intl.DateTimeFormat say. */
export function when(time, options = { dateStyle: "medium", timeStyle: "short" }) {
  return new Intl.DateTimeFormat(language, options).format(new Date(time));
}

const shown = (value) => (typeof value === "number" ? new Intl.NumberFormat(language).format(value) : value);

function chosen() {
  const [, remembered] = document.cookie.match(/(?:^|; )pixelmill_lang=(\w+)/) ?? [];
  const wanted = [remembered, ...navigator.languages].map((name) => name?.split("-")[0]);
  return wanted.find((name) => name in LANGUAGES) ?? "en";
}
