/**
 * The page's language: each text stands in the code in English, which is its name in the catalogues. `?lang=` chooses
 * it and is remembered; else it is the browser's first language that there is a catalogue of. So far there is none.
 */

const STORED = "pixelmill.lang";
/** Modules with `TEXTS`, the texts by their English, by language. */
const CATALOGUES = {};

export const LANGUAGES = ["en", ...Object.keys(CATALOGUES)];
export const language = chosen();
document.documentElement.lang = language;

const catalogue = (await CATALOGUES[language]?.())?.TEXTS ?? {};

/** The text in the page's language, with `{name}` replaced by `values.name`. */
export function t(text, values = {}) {
  return (catalogue[text] ?? text).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

/** Put the texts and the texts of attributes below `root` into the page's language. */
export function translated(root) {
  if (language === "en") return root;
  const nodes = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
  for (let node = root; node; node = nodes.nextNode()) {
    if (node.nodeType === Node.TEXT_NODE) node.data = replaced(node.data);
    else for (const name of ["aria-label", "title", "alt", "placeholder"]) translateAttribute(node, name);
  }
  return root;
}

function translateAttribute(node, name) {
  if (node.hasAttribute?.(name)) node.setAttribute(name, replaced(node.getAttribute(name)));
}

/** Around a text there may be spaces and line ends of the markup. */
function replaced(text) {
  const words = text.trim().replace(/\s+/g, " ");
  return words in catalogue ? text.replace(text.trim(), () => catalogue[words]) : text;
}

function chosen() {
  const asked = new URLSearchParams(location.search).get("lang");
  if (LANGUAGES.includes(asked)) localStorage.setItem(STORED, asked);
  const wanted = [localStorage.getItem(STORED), ...(navigator.languages ?? [])].filter(Boolean);
  const known = wanted.map((name) => name.split("-")[0]).find((name) => LANGUAGES.includes(name));
  return known ?? "en";
}
