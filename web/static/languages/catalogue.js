/** A catalogue of texts by their English; not loaded while the page is English. web/words.py reads the same files. */

const VALUE = /\{\w+\}/;
const ALL_VALUES = /\{\w+\}/g;
const NUMBERS = new Set(["count", "done", "percent", "seconds", "status"]); // names of values that are nothing else
const LEAST_LETTERS = 3; // of a text with values that is recognised by its other words
const ATTRIBUTES = ["aria-label", "title", "alt", "placeholder", "label"];

export async function load(language) {
  const answer = await fetch(new URL(`./${language}.json`, import.meta.url)).catch(() => null);
  const { tag, texts } = answer?.ok ? await answer.json() : { tag: "en", texts: {} };
  return new Catalogue(tag, texts);
}

class Catalogue {
  constructor(tag, texts) {
    Object.assign(this, { tag, texts });
  }

  learn(texts) {
    Object.assign(this.texts, texts);
    this.sentences = null;
  }

  /** A text, or undefined. Sentences of the server have values in them: those are found by their other words. */
  find(text) {
    return Object.hasOwn(this.texts, text) ? this.texts[text] : this.findSentence(text);
  }

  findSentence(text) {
    this.sentences ??= sentencesOf(this.texts);
    for (const { pattern, names, translation } of this.sentences) {
      const match = pattern.exec(text);
      if (!match) continue;
      const values = Object.fromEntries(names.map((name, i) => [name, this.find(match[i + 1]) ?? match[i + 1]]));
      return translation.replace(/\{(\w+)\}/g, (all, name) => values[name] ?? all);
    }
  }

  translate(root) {
    const nodes = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT);
    for (let node = root; node; node = nodes.nextNode()) {
      if (node.nodeType === Node.TEXT_NODE) node.data = this.replaced(node.data);
      else for (const name of ATTRIBUTES.filter((name) => node.hasAttribute?.(name))) node.setAttribute(name, this.replaced(node.getAttribute(name)));
    }
    return root;
  }

  /** Around a text there may be spaces and line ends of the markup. */
  replaced(text) {
    const words = text.trim().replace(/\s+/g, " ");
    const found = words && this.find(words);
    return found ? text.replace(text.trim(), () => found) : text;
  }
}

/** Those with `{values}`, the longest first, as a short one may fit into what a longer one means. */
function sentencesOf(texts) {
  const isSentence = (text) => VALUE.test(text) && text.replaceAll(ALL_VALUES, "").match(/[a-z]/gi)?.length >= LEAST_LETTERS;
  const templates = Object.keys(texts).filter(isSentence).sort((a, b) => b.length - a.length);
  return templates.map((template) => {
    const names = template.match(ALL_VALUES).map((name) => name.slice(1, -1));
    const parts = template.split(VALUE).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    const source = parts.reduce((all, part, i) => all + (NUMBERS.has(names[i - 1]) ? "([\\d.,]+)" : "(.+?)") + part);
    return { pattern: new RegExp(`^${source}$`, "s"), names, translation: texts[template] };
  });
}
