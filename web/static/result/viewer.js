/** Shows one result: before and after, backgrounds, zoom, boxes, labels, downloads. */

import { bitmapOf, canvasOf, fit, Upright } from "../photos.js";
import { save, TYPES, written } from "../pictures.js";
import { changed, state } from "../state.js";
import { boxed, coloursOf, countsOf, drawBoxes } from "./boxes.js";
import { boxOf, composed, drawn, groundPicture, PLAIN } from "./compose.js";
import { blobOf } from "./downloads.js";
import { gestures } from "./gestures.js";
import { drawLabels, drawNotes } from "./overlays.js";
import { createdPicture, fittingSource, original, shownCutout } from "./sources.js";
import { TOOLS, Tools } from "./tools.js";

const SHOWN_SIDE = 1600;
const MAX_ZOOM = 10;
const KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit", c: "copy", d: "png" };
const STEPS = { ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1 };

const MARKUP = `
<div class="stage" tabindex="0" role="group" aria-label="Result">
  <div class="frame">
    <div class="pan">
      <canvas class="before"></canvas>
      <div class="after"><canvas class="ground"></canvas><canvas class="cut"></canvas></div>
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
<div role="status"><ul class="notes"></ul></div>
${TOOLS}
<p class="said" role="status"></p>`;

/** A viewer in `root`. */
export class Viewer {
  constructor(root) {
    this.root = root;
    this.say = (sentence) => (this.find(".said").textContent = sentence);
    this.threshold = 0.5;
    this.latest = 0; // number of the latest call of showResult or showPhoto
    this.shown = {}; // {item, result, source, misfit, cutout, box, before, after, boxes, colours}
    root.innerHTML = MARKUP;
    this.frame = this.find(".frame");
    this.reset();
    this.listen();
    this.look = PLAIN;
    this.tools = new Tools(this.find(".tools"), {
      say: this.say,
      onLook: (look) => this.setLook(look).catch((error) => this.say(`That failed: ${error.message}`)),
      onThreshold: (share) => {
        this.threshold = share;
        this.draw();
      },
    });
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  /** Show the result of a finished item, unless another picture is asked for meanwhile. */
  async showResult(item) {
    const number = ++this.latest;
    const { result } = item.job;
    const { source, misfit } = await fittingSource(item);
    const cutout = result.kind === "boxes" ? null : (await shownCutout(item, source))?.scaled(SHOWN_SIDE);
    const small = source?.scaled(SHOWN_SIDE);
    const pictures = await this.picturesOf(small, cutout);
    if (number !== this.latest) return;
    const boxes = result.data?.faces ?? [];
    if (this.shown.item !== item) this.reset();
    this.say("");
    this.shown = { item, result, source: small, misfit, cutout, boxes, colours: coloursOf(boxes), ...pictures };
    this.draw();
    await this.drawGround();
    this.root.dataset.drawn = item.job.id;
  }

  /** Show a photo that has no result yet. */
  async showPhoto(item) {
    const number = ++this.latest;
    delete this.root.dataset.drawn;
    const source = await original(item).catch(() => null);
    if (number !== this.latest) return;
    this.shown = { item, boxes: [], ...(await this.picturesOf(source, null)) };
    this.reset();
    this.draw();
  }

  /** {box, before, after}: what the frame shows of the photo and of its cut-out, cropped as is chosen. */
  async picturesOf(source, cutout) {
    const [width, height] = fit(cutout ?? source ?? { width: 1, height: 1 }, SHOWN_SIDE);
    const box = cutout ? boxOf(cutout, this.look) : { left: 0, top: 0, width, height };
    const after = cutout && (await drawn(composed(cutout, PLAIN, box)));
    return { box, after, before: source && cropped(source, { width, height }, box) };
  }

  draw() {
    const { item, result, box, before, after, boxes, colours, misfit } = this.shown;
    if (!item) return;
    const shape = before || after ? box : sizeOf(result, item.photo);
    this.root.dataset.kind = result?.kind ?? "busy";
    this.root.dataset.compare = Boolean(before && after);
    this.frame.style.setProperty("--ratio", shape.width / shape.height);
    show(this.find(".before"), before);
    show(this.find(".cut"), after);
    this.find(".after").hidden = !after;
    for (const [act, is] of Object.entries(possibleActs(this.shown))) this.find(`[data-act=${act}]`).hidden = !is;
    drawBoxes(this.find(".boxes"), this.visibleBoxes(), colours, result ?? shape);
    this.find(".counts").textContent = result?.kind === "boxes" ? countsOf(this.visibleBoxes(), colours.keys()) : "";
    drawLabels(this.find(".labels"), result?.data?.labels ?? []);
    drawNotes(this.find(".notes"), [misfit, ...(result?.notes ?? []).map(({ message }) => message)]);
    this.place();
  }

  async drawGround() {
    const { look, shown } = this;
    const { item, cutout } = shown;
    const isColour = look.background.startsWith("#");
    if (cutout && look.background === "blur" && !cutout.blurredGround) {
      cutout.blurred = new Upright(await bitmapOf(await createdPicture(item, { background: "blur" }, "preview")));
    }
    if (this.shown !== shown || this.look !== look) return;
    this.find(".after").style.background = isColour ? look.background : "";
    show(this.find(".ground"), cutout && look.background && !isColour ? groundPicture(cutout, look, shown.box) : null);
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
    const moves = { in: () => this.zoomBy(1.5), out: () => this.zoomBy(1 / 1.5), fit: () => this.zoomBy(0) };
    if (moves[name]) moves[name]();
    const button = name && !moves[name] && this.find(`.downloads [data-act=${name}]`);
    if (!button || button.hidden || button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", true);
    this.say("");
    try {
      await (name === "copy" ? this.copy() : this.download(name));
    } catch (error) {
      this.say(`That failed: ${error.message}`);
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  async setLook(look) {
    const { isCropped, margin } = this.look;
    this.look = state.look = look;
    changed(); // `For programs` shows it
    if (look.isCropped !== isCropped || (isCropped && look.margin !== margin)) await this.crop();
    this.drawGround();
  }

  async crop() {
    const { shown, look } = this;
    if (!shown.cutout) return;
    const pictures = await this.picturesOf(shown.source, shown.cutout);
    if (this.shown !== shown || this.look !== look) return; // another photo or margin is shown by now
    Object.assign(shown, pictures);
    this.reset();
    this.draw();
  }

  async copy() {
    const picture = this.file("png");
    await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
    this.say("Copied.");
  }

  async download(kind) {
    const { item, result } = this.shown;
    const what = { mask: "mask", json: "result" }[kind] ?? (result.objects.alpha ? "cutout" : result.kind);
    const blob = await this.file(kind);
    const ending = blob.type ? blob.type.split("/")[1] : kind; // the server may have written another format
    save(blob, `${item.name.replace(/\.\w+$/, "")}-${what}.${ending === "jpeg" ? "jpg" : ending}`);
  }

  /** The result at the size of the person's own file, or at the largest that there is. */
  async file(kind) {
    const { item, result, colours } = this.shown;
    if (kind === "json") return new Blob([JSON.stringify(item.job, null, 2)]);
    if (result.kind !== "boxes") return blobOf(item, this.look, kind, this.say);
    const source = await original(item);
    return written(boxed(source, this.visibleBoxes(), colours, source.width / result.width), TYPES[kind]);
  }
}

/** The best guess at a picture's shape while there is none to show. */
function sizeOf(result, photo) {
  return [result, photo.size].find((size) => size?.width) ?? { width: 3, height: 1 };
}

/** The part `box` of a photo that is `width` x `height` on the screen. */
function cropped(source, { width, height }, box) {
  const [canvas, context] = canvasOf(box.width, box.height);
  source.draw(context, width, height, -box.left, -box.top);
  return canvas;
}

/** Which buttons have something to give. */
function possibleActs({ result, source, cutout }) {
  const isMade = Boolean(cutout) || (result?.kind === "boxes" && Boolean(source)); // there is a picture to download
  const alpha = result?.objects?.alpha;
  return { mask: alpha, avif: alpha, webp: cutout, jpeg: cutout, png: isMade, copy: isMade && navigator.clipboard?.write };
}

function show(canvas, picture) {
  canvas.style.visibility = picture ? "" : "hidden";
  if (!picture) return;
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0);
}
