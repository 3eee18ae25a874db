/**
 * The page's language: each text stands in the code in English, which is its name in the catalogues of `texts/`.
 * `?lang=` chooses it and is remembered; else the browser's first language that there is a catalogue of.
 */

const STORED = "pixelmill.lang";
const CATALOGUES = { zh: () => import("./texts/zh.js") };

export const LANGUAGES = { en: "English", zh: "中文" };
export const language = chosen();
document.documentElement.lang = language === "zh" ? "zh-Hans" : language;

const catalogue = (await CATALOGUES[language]?.())?.TEXTS ?? {};

/** The text in the page's language, with `{name}` replaced by `values.name`. */
export function t(text, values = {}) {
  return (catalogue[text] ?? text).replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
}

/** Another language for this browser, from the next load of the page on. */
export function chooseLanguage(name) {
  localStorage.setItem(STORED, name);
  const address = new URL(location);
  address.searchParams.delete("lang");
  location.replace(address);
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
  if (asked in LANGUAGES) localStorage.setItem(STORED, asked);
  const wanted = [localStorage.getItem(STORED), ...(navigator.languages ?? [])].filter(Boolean);
  const known = wanted.map((name) => name.split("-")[0]).find((name) => name in LANGUAGES);
  return known ?? "en";
}
