/** Shows one result: before and after, backgrounds, zoom, boxes, labels, downloads. */

import { gestures } from "./gestures.js";
import { alphaOf, boxed, coloursOf, cutOut, encoded, fitted, objectOf, original, percent, readable, save } from "./pictures.js";
import { make } from "./state.js";

const SHOWN_SIDE = 1600;
const SAFE_SIDE = 2048; // a canvas that every browser can hold
const MAX_ZOOM = 10;
const BACKGROUNDS = { Transparent: "", White: "#ffffff", Black: "#000000", Green: "#00b140" };
const KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit", c: "copy", d: "png" };
const STEPS = { ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1 };

const swatch = ([name, colour], index) => `<label title="${name}">
  <input type="radio" name="pm-background" value="${colour}" ${index ? "" : "checked"}>
  <i style="--swatch:${colour || "transparent"}"></i><span>${name}</span></label>`;

const MARKUP = `
<div class="stage" tabindex="0" role="group" aria-label="Result">
  <div class="frame">
    <div class="pan">
      <canvas class="before"></canvas>
      <div class="after"><canvas></canvas></div>
      <div class="boxes"></div>
    </div>
    <div class="split" role="slider" tabindex="0" aria-label="Border between before and after"
      aria-valuemin="0" aria-valuemax="100" aria-valuenow="50"><i></i></div>
    <span class="side side-before" aria-hidden="true">Before</span>
    <span class="side side-after" aria-hidden="true">After</span>
    <div class="zoom" role="group" aria-label="Zoom">
      <button type="button" data-act="out" aria-label="Zoom out">−</button>
      <button type="button" data-act="fit" title="Fit to the window">100 %</button>
      <button type="button" data-act="in" aria-label="Zoom in">+</button>
    </div>
  </div>
</div>
<ol class="labels" aria-label="What the photo shows"></ol>
<div class="tools">
  <fieldset class="backgrounds"><legend>Background</legend>
    ${Object.entries(BACKGROUNDS).map(swatch).join("")}
    <label class="own" title="Own colour"><input type="color" value="#f2b8a0" aria-label="Own background colour"></label>
  </fieldset>
  <label class="threshold">Score at least <input type="range" min="0" max="1" step="0.01" value="0.5"><output>50 %</output></label>
  <span class="counts" role="status"></span>
  <span class="downloads">
    <button type="button" data-act="copy">Copy</button>
    <button type="button" data-act="alpha">Mask</button>
    <button type="button" data-act="webp">WebP</button>
    <button type="button" data-act="json">JSON</button>
    <button type="button" data-act="png" class="primary">Download PNG</button>
  </span>
</div>`;

/** A viewer in `root`; `announce(sentence)` gets the outcome of an action for screen readers. */
export class Viewer {
  constructor(root, announce) {
    this.root = root;
    this.announce = announce;
    this.background = "";
    this.threshold = 0.5;
    this.latest = 0; // number of the latest call of showResult or showPhoto
    this.shown = {}; // {item, result, source, after, alpha, boxes, colours}
    root.innerHTML = MARKUP;
    this.frame = this.find(".frame");
    this.reset();
    this.listen();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  /** Show the result of a finished item, unless another picture is asked for meanwhile. */
  async showResult(item) {
    const number = ++this.latest;
    const { result } = item.job;
    const pictures = result.kind === "boxes" ? { source: await original(item) } : await picturesOf(item);
    if (number !== this.latest) return;
    const boxes = result.data?.faces ?? [];
    if (this.shown.item !== item) this.reset();
    this.shown = { item, result, boxes, colours: coloursOf(boxes), ...pictures };
    this.draw();
    this.root.dataset.drawn = item.job.id;
  }

  /** Show a photo that has no result yet. */
  async showPhoto(item) {
    const number = ++this.latest;
    delete this.root.dataset.drawn;
    const source = await original(item).catch(() => null);
    if (number !== this.latest) return;
    this.shown = { item, source, boxes: [] };
    this.reset();
    this.draw();
  }

  draw() {
    const { item, result, source, after, boxes, colours } = this.shown;
    const shape = source ?? after ?? item.photo.size ?? { width: 3, height: 1 };
    this.root.dataset.kind = result?.kind ?? "busy";
    this.root.dataset.compare = Boolean(source && after);
    this.frame.style.setProperty("--ratio", shape.width / shape.height);
    paint(this.find(".before"), source && fitted(source, SHOWN_SIDE));
    paint(this.find(".after canvas"), after);
    this.find(".after").hidden = !after;
    const made = Boolean(after) || result?.kind === "boxes"; // there is a picture to download
    const possible = { alpha: result?.objects?.alpha, webp: after, png: made, copy: made && navigator.clipboard?.write };
    for (const [act, is] of Object.entries(possible)) this.find(`[data-act=${act}]`).hidden = !is;
    drawBoxes(this.find(".boxes"), this.visibleBoxes(), colours, result ?? shape);
    this.find(".counts").textContent = result?.kind === "boxes" ? countsOf(this.visibleBoxes(), colours.keys()) : "";
    drawLabels(this.find(".labels"), result?.data?.labels ?? []);
    this.place();
  }

  visibleBoxes() {
    return this.shown.boxes.filter(({ score }) => score >= this.threshold);
  }

  // --- Position of the picture and of the border ---

  reset() {
    Object.assign(this, { zoom: 1, x: 0, y: 0, split: 0.5 });
  }

  /** Write the position to CSS. The border stays where it is while the picture moves below it. */
  place() {
    const { width, height } = this.frame.getBoundingClientRect();
    const within = (offset, side) => Math.min(0, Math.max(side * (1 - this.zoom), offset));
    this.x = within(this.x, width);
    this.y = within(this.y, height);
    this.find(".pan").style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    const border = (this.split * width - this.x) / this.zoom;
    this.root.style.setProperty("--clip", this.root.dataset.compare === "true" ? `${border}px` : "0px");
    this.root.style.setProperty("--split", `${this.split * 100}%`);
    this.root.style.setProperty("--unzoom", 1 / this.zoom);
    this.find(".split").setAttribute("aria-valuenow", Math.round(this.split * 100));
    this.frame.classList.toggle("zoomed", this.zoom > 1);
    this.find("[data-act=fit]").textContent = `${Math.round(this.zoom * 100)} %`;
  }

  /** Zoom so that the point (x, y) of the frame stays where it is. */
  zoomBy(factor, x = this.frame.clientWidth / 2, y = this.frame.clientHeight / 2) {
    const next = Math.min(MAX_ZOOM, Math.max(1, this.zoom * factor));
    this.x = x - ((x - this.x) * next) / this.zoom;
    this.y = y - ((y - this.y) * next) / this.zoom;
    this.zoom = next;
    this.place();
  }

  moveBy(x, y) {
    this.x += x;
    this.y += y;
    this.place();
  }

  splitAt(share) {
    this.split = Math.min(1, Math.max(0, share));
    this.place();
  }

  // --- Actions ---

  listen() {
    this.root.addEventListener("click", ({ target }) => this.act(target.closest("[data-act]")?.dataset.act));
    this.root.addEventListener("input", ({ target }) => {
      if (target.type === "range") this.setThreshold(Number(target.value));
      else if (target.closest(".backgrounds")) this.setBackground(target);
    });
    this.find(".stage").addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || !this.shown.result) return;
      const step = event.target.matches(".split") && STEPS[event.key];
      if (step) this.splitAt(this.split + step);
      else if (KEYS[event.key]) this.act(KEYS[event.key]);
      else return;
      event.preventDefault();
    });
    gestures(this.frame, this);
    new ResizeObserver(() => this.place()).observe(this.frame);
  }

  async act(name) {
    const actions = {
      in: () => this.zoomBy(1.5),
      out: () => this.zoomBy(1 / 1.5),
      fit: () => this.zoomBy(0),
      png: () => this.download("image/png", "png"),
      webp: () => this.download("image/webp", "webp"),
      alpha: async () => save(await objectOf(this.shown.item, "alpha"), this.fileName("mask", "png")),
      json: () => save(new Blob([JSON.stringify(this.shown.item.job, null, 2)]), this.fileName("result", "json")),
      copy: () => this.copy(),
    };
    try {
      await actions[name]?.();
    } catch (error) {
      this.announce(`That failed: ${error.message}`);
    }
  }

  setBackground({ type, value }) {
    this.background = value;
    this.find(".after").style.background = value;
    this.find(".own").classList.toggle("chosen", type === "color");
    if (type === "color") this.root.querySelectorAll("[name=pm-background]").forEach((radio) => (radio.checked = false));
  }

  setThreshold(share) {
    this.threshold = share;
    this.find(".threshold output").textContent = percent(share);
    this.draw();
  }

  async copy() {
    const picture = this.compose().then((canvas) => encoded(canvas, "image/png"));
    await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
    this.announce("Copied.");
  }

  async download(type, ending) {
    const blob = await encoded(await this.compose(), type).catch(async () => encoded(await this.compose(SAFE_SIDE), type));
    save(blob, this.fileName(this.shown.alpha ? "cutout" : this.shown.result.kind, ending));
  }

  /** The result at the size of the person's own file, or at most `longest`; after a reload at the preview's. */
  async compose(longest = Infinity) {
    const { item, result, alpha, after, colours } = this.shown;
    if (!alpha && after) return cutOut(after, after, this.background);
    const source = fitted(await original(item), longest);
    if (result.kind === "boxes") return boxed(source, this.visibleBoxes(), colours, source.width / result.width);
    return cutOut(alpha, source, this.background);
  }

  fileName(what, ending) {
    return `${this.shown.item.name.replace(/\.\w+$/, "")}-${what}.${ending}`;
  }
}

/** {source, after, alpha?}: the person's own file cut out here, or else the server's preview. */
async function picturesOf(item) {
  const { objects = {} } = item.job.result;
  const { file, size } = item.photo; // no size: this browser cannot read the photo
  const names = [...(file && size ? ["alpha"] : []), "preview", ...Object.keys(objects)];
  const name = names.find((name) => objects[name]);
  const [source, made] = await Promise.all([original(item), name && objectOf(item, name).then(readable)]);
  if (name !== "alpha") return { source, after: made };
  const [small, alpha] = [fitted(source, SHOWN_SIDE), alphaOf(made)];
  return { source: small, alpha, after: cutOut(alpha, small) };
}

function paint(canvas, picture) {
  canvas.style.visibility = picture ? "" : "hidden";
  if (!picture) return;
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0);
}

/** Boxes over a picture of width x height; positions in percent, so that they scale with it. */
function drawBoxes(root, boxes, colours, { width, height }) {
  const share = (part, whole) => `${(100 * part) / whole}%`;
  root.replaceChildren(
    ...boxes.map(({ box: [x1, y1, x2, y2], label, score }) => {
      const box = make("<div><span></span></div>");
      Object.assign(box.style, {
        left: share(x1, width),
        top: share(y1, height),
        width: share(x2 - x1, width),
        height: share(y2 - y1, height),
      });
      box.style.setProperty("--colour", colours.get(label));
      // The label has to stay inside the photo, since the rest is clipped.
      box.classList.toggle("end", x1 + x2 > width);
      box.classList.toggle("under", y1 < height / 12);
      box.firstChild.textContent = `${label} ${percent(score)}`;
      return box;
    }),
  );
}

/** `2 facemask, 1 no facemask`. */
function countsOf(boxes, labels) {
  const counts = [...labels].map((label) => `${boxes.filter((box) => box.label === label).length} ${label}`);
  return counts.join(", ") || "Nothing found";
}

/** One bar per label; its length is the score. */
function drawLabels(root, labels) {
  root.replaceChildren(
    ...labels.map(({ label, score }) => {
      const row = make("<li><span></span><i></i><b></b></li>");
      const [name, bar, share] = row.children;
      name.textContent = label;
      share.textContent = percent(score);
      bar.style.setProperty("--share", score);
      return row;
    }),
  );
}
