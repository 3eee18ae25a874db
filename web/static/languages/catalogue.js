/** A catalogue of texts by their English; not loaded while the page is English. web/words.py reads the same files. */

const ATTRIBUTES = ["aria-label", "title", "alt", "placeholder", "label"];

export async function load(language) {
  const answer = await fetch(`/static/languages/${language}.json`).catch(() => null);
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
      const values = Object.fromEntries(names.map((name, i) => [name, match[i + 1]]));
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
    return words && Object.hasOwn(this.texts, words) ? text.replace(text.trim(), () => this.texts[words]) : text;
  }
}

/** Those with `{values}`, the longest first, as a short one may fit into what a longer one means. */
function sentencesOf(texts) {
  const templates = Object.keys(texts).filter((text) => /\{\w+\}/.test(text)).sort((a, b) => b.length - a.length);
  return templates.map((template) => {
    const names = [...template.matchAll(/\{(\w+)\}/g)].map(([, name]) => name);
    const parts = template.split(/\{\w+\}/).map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    return { pattern: new RegExp(`^${parts.join("(.+?)")}$`, "s"), names, translation: texts[template] };
  });
}
