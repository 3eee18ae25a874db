/** The brush: mends a matte by hand. It paints on the screen at once; the renderer then draws the strokes exactly. */

import { make } from "../state.js";
import { t } from "../words.js";

const SIZES = { least: 0.004, most: 0.25, first: 0.05 }; // shares of the picture's longer side
const STEP = 1.25; // of the size, for each press of a key
const STRIDE = 0.1; // of the size: a mouse that moved less has not moved
const KEY_MOVE = 0.4; // of the size, for each press of an arrow key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

export const BRUSH = `
<div class="brush" role="group" aria-label="Brush" hidden>
  <label><input type="radio" name="pm-brush" value="remove" checked> Remove</label>
  <label><input type="radio" name="pm-brush" value="keep"> Keep</label>
  <label>Size <input type="range" name="size" min="0" max="100" step="1"></label>
  <button type="button" data-brush="undo" title="Ctrl+Z">Undo</button>
  <button type="button" data-brush="redo" title="Ctrl+Shift+Z">Redo</button>
  <button type="button" data-brush="close" class="primary">Done</button>
  <small>Keys: arrows move, space paints, X swaps, [ and ] change the size.</small>
</div>`;

export class Brush {
  /**
   * `canvases()`: {cut, before}, the second null without a photo. `shown()`: {item, size, box} of the picture in the
   * frame. `onChange()` is called after each change of the item's strokes, `onToggle(isOn)` after switching it.
   */
  constructor(root, position, { canvases, shown, onChange, onToggle }) {
    Object.assign(this, { root, position, canvases, shown, onChange, onToggle, isOn: false, size: SIZES.first });
    this.find = (selector) => root.querySelector(selector);
    this.ring = make(`<div class="ring" aria-hidden="true" hidden></div>`);
    this.find(".frame").append(this.ring);
    this.slider.addEventListener("input", () => this.resize(sizeOf(Number(this.slider.value))));
    root.addEventListener("click", ({ target }) => {
      const act = target.closest("[data-brush]")?.dataset.brush;
      if (act) ({ undo: () => this.undo(), redo: () => this.redo(), close: () => this.toggle(false) })[act]();
    });
    this.resize(this.size);
  }

  get slider() {
    return this.find(".brush [name=size]");
  }

  get mode() {
    return this.find("[name=pm-brush]:checked").value;
  }

  toggle(isOn) {
    this.isOn = isOn;
    const loses = !isOn && this.find(".brush").contains(document.activeElement);
    this.find(".brush").hidden = !isOn;
    if (loses) this.find("[data-tool=brush]").focus(); // what is hidden cannot have it
    this.find("[name=pm-brush][value=keep]").disabled = !this.canvases().before;
    if (!this.canvases().before) this.find("[name=pm-brush][value=remove]").checked = true;
    const { clientWidth, clientHeight } = this.find(".frame");
    this.at = { x: clientWidth / 2, y: clientHeight / 2 };
    this.hover(isOn ? this.at : null);
    this.drawButtons();
    this.onToggle(isOn);
  }

  resize(size) {
    this.size = Math.min(SIZES.most, Math.max(SIZES.least, size));
    this.slider.value = Math.round((100 * Math.log(this.size / SIZES.least)) / Math.log(SIZES.most / SIZES.least));
    this.slider.setAttribute("aria-valuetext", t("{percent} % of the picture", { percent: (this.size * 100).toFixed(1) }));
    if (this.isOn) this.hover(this.at);
  }

  /** Show how large the brush is, at a point of the frame; null hides it. */
  hover(at) {
    this.ring.hidden = !at || !this.isOn;
    if (this.ring.hidden) return;
    this.at = at;
    const { box, size } = this.shown();
    const frame = this.find(".frame");
    const pixels = (this.size * Math.max(size.width, size.height) * frame.clientWidth) / box.width; // whatever the zoom
    Object.assign(this.ring.style, { left: `${at.x}px`, top: `${at.y}px`, width: `${pixels}px`, height: `${pixels}px` });
  }

  down(point) {
    this.stroke = { mode: this.mode, size: this.size / this.position.zoom, points: [] };
    this.move(point);
  }

  move(...points) {
    for (const point of points) {
      const [x, y] = this.placeOf(point);
      const { points: drawn, size } = this.stroke;
      const [lastX, lastY] = drawn.slice(-2);
      if (drawn.length && Math.hypot(x - lastX, y - lastY) < size * STRIDE) continue;
      drawn.push(x, y);
      this.paint();
    }
    this.hover(points.at(-1));
  }

  up() {
    if (!this.stroke) return;
    const { item } = this.shown();
    item.strokes = [...(item.strokes ?? []), this.stroke];
    item.undone = [];
    this.stroke = null;
    this.changed();
  }

  /** The stroke turned out to be something else: two fingers. */
  cancel() {
    this.stroke = null;
    this.onChange();
  }

  undo() {
    const { item } = this.shown();
    if (!item.strokes?.length) return;
    item.undone = [...(item.undone ?? []), item.strokes.at(-1)];
    item.strokes = item.strokes.slice(0, -1);
    this.changed();
  }

  redo() {
    const { item } = this.shown();
    if (!item.undone?.length) return;
    item.strokes = [...item.strokes, item.undone.at(-1)];
    item.undone = item.undone.slice(0, -1);
    this.changed();
  }

  changed() {
    this.drawButtons();
    this.onChange();
  }

  drawButtons() {
    const { item } = this.shown();
    const [undo, redo] = ["undo", "redo"].map((name) => this.find(`[data-brush=${name}]`));
    const focused = document.activeElement; // a button that is switched off loses the focus
    undo.disabled = !item?.strokes?.length;
    redo.disabled = !item?.undone?.length;
    if (focused === undo && undo.disabled) redo.focus();
    if (focused === redo && redo.disabled) undo.focus();
  }

  /** Whether a key was one of the brush's. */
  key(event) {
    if (!this.isOn) return false;
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "z") {
      if (event.shiftKey) this.redo();
      else this.undo();
      return true;
    }
    if (event.ctrlKey || event.metaKey || event.altKey || !event.target.matches(".stage")) return false;
    const act = this.actions()[event.key];
    act?.();
    return Boolean(act);
  }

  actions() {
    const dab = () => {
      this.down(this.at);
      this.up();
    };
    const swap = () => {
      const other = this.find(`[name=pm-brush]:not(:checked)`);
      if (!other.disabled) other.checked = true;
    };
    const moves = Object.entries(ARROWS).map(([key, [x, y]]) => [key, () => this.moveByKey(x, y)]);
    return {
      ...Object.fromEntries(moves),
      " ": dab,
      Enter: dab,
      x: swap,
      "[": () => this.resize(this.size / STEP),
      "]": () => this.resize(this.size * STEP),
      Escape: () => this.toggle(false),
    };
  }

  moveByKey(x, y) {
    const frame = this.find(".frame");
    const step = Math.max(4, this.ring.offsetWidth * KEY_MOVE);
    const within = (value, most) => Math.max(0, Math.min(most, value));
    this.hover({ x: within(this.at.x + x * step, frame.clientWidth), y: within(this.at.y + y * step, frame.clientHeight) });
  }

  /** A point of the frame as shares of the whole picture. */
  placeOf({ x, y }) {
    const { box, size } = this.shown();
    const [across, down] = this.position.shareAt(x, y);
    return [(box.left + across * box.width) / size.width, (box.top + down * box.height) / size.height];
  }

  /** Paint the last piece of the stroke on the screen. */
  paint() {
    const { cut, before } = this.canvases();
    const { box, size } = this.shown();
    const { mode, points, size: share } = this.stroke;
    const context = cut.getContext("2d");
    const piece = points.length > 2 ? points.slice(-4) : [...points, ...points];
    context.save();
    context.lineCap = context.lineJoin = "round";
    context.lineWidth = share * 0.93 * Math.max(size.width, size.height);
    context.globalCompositeOperation = mode === "keep" ? "source-over" : "destination-out";
    context.strokeStyle = mode === "keep" ? context.createPattern(before, "no-repeat") : "#000";
    context.beginPath();
    context.moveTo(piece[0] * size.width - box.left, piece[1] * size.height - box.top);
    context.lineTo(piece[2] * size.width - box.left + 0.01, piece[3] * size.height - box.top);
    context.stroke();
    context.restore();
  }
}

const sizeOf = (value) => SIZES.least * (SIZES.most / SIZES.least) ** (value / 100);
