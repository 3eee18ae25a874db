/** Shows one result: before and after, the tools, zoom, boxes, labels, downloads. */

import { store } from "../items.js";
import { isFree } from "../keys.js";
import { canWrite, save, TYPES } from "../photo/pictures.js";
import { changed, state } from "../state.js";
import { t, translated } from "../words.js";
import { coloursOf } from "./boxes.js";
import { Brush } from "./brush.js";
import { PLAIN } from "./compose.js";
import { Detail } from "./detail.js";
import { blobOf, boxedBlobOf, nameOf } from "./downloads.js";
import { MARKUP, possibleActs, show, sizeOf } from "./frame.js";
import { gestures } from "./gestures.js";
import { certaintyOf, countsOf, drawBoxes, drawLabels, drawNotes } from "./overlays.js";
import { canPick, Picker } from "./picker.js";
import { Position } from "./position.js";
import { Latest, Renderer } from "./renderer.js";
import { openPhoto, openResult } from "./sources.js";
import { Mover, Tools } from "./tools.js";

const DRAFT_SIDE = 900; // of what is drawn while a slider moves
const SHARP_MS = 120; // without a change, after which it is drawn sharply
const KEYS = { "+": "in", "=": "in", "-": "out", 0: "fit", c: "copy", d: "png", b: "brush" };
const STEPS = { ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1 };

/** A viewer in `root`. */
export class Viewer {
  constructor(root) {
    this.root = root;
    root.dataset.kind = "busy"; // the tools wait for a result
    this.say = (sentence) => (this.find(".said").textContent = sentence && t(sentence));
    this.threshold = 0.5;
    this.latest = 0; // number of the latest call of showResult or showPhoto
    this.shown = { boxes: [], opened: {}, box: { width: 1, height: 1 }, size: { width: 1, height: 1 } };
    root.innerHTML = MARKUP;
    translated(root);
    this.renderer = new Renderer();
    this.previews = new Latest((asked) => this.renderer.call("preview", asked));
    this.position = new Position(root, (isZoomed) => {
      if (isZoomed && this.shown.boxes.length) this.drawBoxes();
      this.detail.renew();
    });
    this.detail = new Detail(root, this.position, this.renderer, () => this.askedOfDetail());
    this.look = PLAIN;
    const onLook = (look) => this.setLook(look);
    const onThreshold = (share) => this.draw((this.threshold = share));
    const onTool = (name) => this.use(name);
    this.tools = new Tools(this.find(".tools"), { say: this.say, onLook, onThreshold, onTool });
    this.mover = new Mover(this.tools, this.position, () => this.shown.box);
    this.brush = this.newBrush();
    this.picker = this.newPicker();
    this.listen();
  }

  newBrush() {
    return new Brush(this.root, this.position, {
      canvases: () => ({ cut: this.find(".cut"), before: this.shown.opened.size && this.find(".before") }),
      shown: () => this.shown,
      onChange: () => {
        store();
        this.refresh();
      },
      onToggle: (isOn) => {
        if (!isOn && this.tool === this.brush) this.tools.use("brush", false);
        if (this.look.isCropped) this.refresh(); // the whole picture is mended
      },
    });
  }

  newPicker() {
    return new Picker(this.frame, {
      itemOf: () => this.shown.item,
      placeOf: (point) => this.brush.placeOf(point),
      onEnd: () => this.tools.use("pick", false),
    });
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  /** Show the result of a finished item, unless another picture is asked for meanwhile. */
  async showResult(item) {
    const number = ++this.latest;
    const opened = await openResult(this.renderer, item);
    const canAvif = await canWrite(TYPES.avif);
    const pictures = await this.preview(item, opened);
    if (number !== this.latest || !pictures) return;
    const { result } = item.job;
    const boxes = result.data?.faces ?? [];
    if (this.shown.item !== item) this.leave();
    this.say("");
    this.shown = { item, result, opened, boxes, colours: coloursOf(boxes), canAvif, ...pictures };
    this.paint();
    this.draw();
    this.root.dataset.drawn = item.job.id;
  }

  /** Show a photo that has no result yet. */
  async showPhoto(item) {
    const number = ++this.latest;
    delete this.root.dataset.drawn;
    this.root.dataset.kind = "busy"; // not those of the result that was shown
    const opened = await openPhoto(this.renderer, item).catch(() => ({ size: null }));
    const pictures = opened.size ? await this.renderer.call("preview", { key: opened.key, look: PLAIN, strokes: [] }) : {};
    if (number !== this.latest) return;
    this.shown = { ...this.shown, item, result: null, opened: {}, boxes: [], after: null, below: null, before: null, ...pictures };
    this.leave();
    this.paint();
    this.draw();
  }

  /** Another picture comes: the tools that belong to the last one are put away. */
  leave() {
    this.position.reset();
    if (this.tool) this.tools.use("brush", false);
  }

  /** What the renderer draws of an item under the present look; null if a later call has overtaken this one. */
  async preview(item, { key, isMadeHere, hasCutout }, side) {
    const look = this.brush.isOn ? { ...this.look, isCropped: false } : this.look;
    if (hasCutout && look.background === "blur" && !isMadeHere) {
      const { createdPicture } = await import("../remote/created.js");
      await this.renderer.call("giveBlurred", { key, blob: await createdPicture(item, { background: "blur" }, "preview") });
    }
    return this.previews.run({ key, look, strokes: item.strokes ?? [], side });
  }

  /** What the renderer needs to draw a part of the present result sharply; null while the brush paints on it. */
  askedOfDetail() {
    const { item, opened, result, box, size } = this.shown;
    if (!result || !opened.key || this.brush.isOn) return null;
    return { key: opened.key, look: this.look, strokes: item.strokes ?? [], shown: box.width, longer: Math.max(size.width, size.height) / box.width };
  }

  /** Draw the present item anew: small at once, and sharply when nothing has changed for a moment. */
  async refresh() {
    const { item, opened } = this.shown;
    const { strokes } = item;
    if (!opened.hasCutout) return;
    clearTimeout(this.sharpening);
    const draw = async (side) => {
      const pictures = await this.preview(item, opened, side);
      // A stroke that was painted meanwhile would vanish until the next picture comes.
      if (!pictures || this.shown.item !== item || this.brush.stroke || item.strokes !== strokes) return;
      if (side) return this.paint({ ...this.shown, ...pictures, before: this.shown.before });
      const moved = JSON.stringify(pictures.box) !== JSON.stringify(this.shown.box);
      Object.assign(this.shown, pictures);
      if (moved) this.position.reset();
      this.paint();
      this.draw();
    };
    const fail = (error) => this.say(t("That failed: {reason}", { reason: error.message }));
    this.sharpening = setTimeout(() => draw().catch(fail), SHARP_MS);
    if (!this.look.isCropped && !this.brush.isOn) await draw(DRAFT_SIDE).catch(fail);
  }

  /** Put the pictures on the screen. */
  paint({ before, after, below } = this.shown) {
    this.detail.cleared = null; // all is drawn anew
    this.detail.renew();
    show(this.find(".before"), before);
    show(this.find(".cut"), after);
    show(this.find(".ground"), below);
    this.find(".after").hidden = !after;
    this.find(".after").style.background = after && this.look.background.startsWith("#") ? this.look.background : "";
  }

  draw() {
    const { item, result, box, before, after, boxes, colours, opened } = this.shown;
    if (!item) return;
    const shape = before || after ? box : sizeOf(result, item.photo);
    this.root.dataset.kind = result?.kind ?? "busy";
    this.root.dataset.compare = Boolean(before && after);
    this.frame.style.setProperty("--ratio", shape.width / shape.height);
    for (const [act, is] of Object.entries(possibleActs(this.shown))) this.find(`[data-act=${act}]`).hidden = !is;
    this.find("[data-tool=brush]").hidden = !after;
    this.find("[data-tool=pick]").hidden = !after || !canPick(item);
    this.drawBoxes();
    this.find(".counts").textContent = result?.kind === "boxes" ? countsOf(this.visibleBoxes(), colours.keys()) : certaintyOf(result);
    drawLabels(this.find(".labels"), result?.data?.labels ?? []);
    drawNotes(this.find(".notes"), [opened.misfit, ...(result?.notes ?? []).map(({ message }) => message)]);
    this.position.place();
  }

  drawBoxes() {
    const { result, box, colours } = this.shown;
    drawBoxes(this.find(".boxes"), this.visibleBoxes(), colours, result ?? box, this.position.zoom);
  }

  visibleBoxes() {
    return this.shown.boxes.filter(({ score }) => score >= this.threshold);
  }

  // --- Actions ---

  get frame() {
    return this.find(".frame");
  }

  listen() {
    this.root.addEventListener("click", ({ target }) => this.act(target.closest("[data-act]")?.dataset.act));
    this.root.addEventListener("keydown", (event) => {
      if (!this.shown.result || !event.target.closest(".stage, .brush")) return;
      if (this.tool?.key(event) || this.step(event)) event.preventDefault();
    });
    document.addEventListener("keydown", (event) => this.pressed(event));
    this.listenToHold(this.find("[data-act=hold]"));
    gestures(this.frame, this.position, () => this.tool);
    new ResizeObserver(() => this.position.place()).observe(this.frame);
  }

  /** Whether a key has moved the border, which has the focus. */
  step(event) {
    const step = event.target.matches(".split") && STEPS[event.key];
    if (step) this.position.splitAt(this.position.split + step);
    return Boolean(step);
  }

  /** Shortcuts act wherever the focus is. */
  pressed(event) {
    if (!this.shown.result || !this.root.offsetParent || !isFree(event) || !KEYS[event.key]) return;
    event.preventDefault();
    const brush = this.find("[data-tool=brush]");
    if (KEYS[event.key] !== "brush") this.act(KEYS[event.key]);
    else if (!brush.hidden) brush.click();
  }

  /** While the button is held, by pointer or by key, the photo is shown as it was. */
  listenToHold(button) {
    const hold = (isHeld) => (this.root.dataset.held = isHeld);
    button.addEventListener("pointerdown", () => hold(true));
    button.addEventListener("keydown", ({ key }) => [" ", "Enter"].includes(key) && hold(true));
    for (const end of ["pointerup", "pointerleave", "pointercancel", "keyup", "blur"]) button.addEventListener(end, () => hold(false));
  }

  /** Take up the brush, what chooses the subject or what moves the background; null: none of them. */
  use(name) {
    this.tool = { brush: this.brush, move: this.mover, pick: this.picker }[name] ?? null;
    this.root.dataset.using = name ?? "none";
    if (this.brush.isOn !== (name === "brush")) this.brush.toggle(name === "brush");
    this.picker.toggle(name === "pick");
    this.say(name === "pick" ? "Click the subject that is to stay, or move by the arrow keys and press Enter." : "");
    if (name) this.find(".stage").focus({ preventScroll: true });
  }

  async act(name) {
    const { position } = this;
    const moves = { in: () => position.zoomBy(1.5), out: () => position.zoomBy(1 / 1.5), fit: () => position.zoomBy(0) };
    if (moves[name]) moves[name]();
    const button = name && !moves[name] && this.find(`.downloads [data-act=${name}]`);
    if (!button || button.hidden || button.getAttribute("aria-busy") === "true") return;
    button.setAttribute("aria-busy", true);
    this.say("");
    try {
      await (name === "copy" ? this.copy() : this.download(name));
    } catch (error) {
      this.say(t("That failed: {reason}", { reason: error.message }));
    } finally {
      button.removeAttribute("aria-busy");
    }
  }

  setLook(look) {
    this.look = state.look = look;
    changed(); // `For programs` shows it
    return this.refresh();
  }

  async copy() {
    if (!navigator.clipboard?.write) {
      return this.say("Browsers copy pictures only on https addresses. Download it, or copy it by a right click on a saved file.");
    }
    await navigator.clipboard.write([new ClipboardItem({ "image/png": this.file("png") })]);
    this.say("Copied.");
  }

  async download(kind) {
    const blob = await this.file(kind);
    save(blob, nameOf(this.shown.item, kind, blob));
  }

  /** The result at the size of the person's own file, or at the largest that there is. */
  async file(kind) {
    const { item, result, opened, colours } = this.shown;
    if (kind === "json") return new Blob([JSON.stringify(item.job, null, 2)]);
    if (result.kind !== "boxes") {
      return blobOf(this.renderer, { item, opened, look: this.look, strokes: item.strokes ?? [] }, kind, this.say);
    }
    return boxedBlobOf(this.renderer, opened, { result, boxes: this.visibleBoxes(), colours }, kind);
  }
}
