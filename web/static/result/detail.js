/** Draws what is seen of a zoomed picture as sharply as the photo is, once the zoom rests. */

import { make } from "../state.js";
import { Latest } from "./renderer.js";

const REST_MS = 150;

export class Detail {
  /** `asked()`: what the renderer's `tile` needs to know but for `seen` and `side`; null: there is nothing to draw. */
  constructor(root, position, renderer, asked) {
    Object.assign(this, { root, position, asked });
    this.tiles = new Latest((argument) => renderer.call("tile", argument));
    this.before = make(`<canvas class="tile" hidden></canvas>`);
    this.after = make(`<canvas class="tile" hidden></canvas>`);
    root.querySelector(".before").after(this.before);
    root.querySelector(".after").append(this.after);
  }

  /** The picture was moved, zoomed or drawn anew. */
  renew() {
    this.clear();
    clearTimeout(this.timer);
    if (this.position.zoom > 1) this.timer = setTimeout(() => this.draw().catch(() => {}), REST_MS);
  }

  clear() {
    this.number = (this.number ?? 0) + 1; // what is on its way belongs to another place
    this.before.hidden = this.after.hidden = true;
    if (this.cleared) this.cleared();
    this.cleared = null;
  }

  async draw() {
    const { position, number } = this;
    const argument = this.asked();
    const side = position.frame.clientWidth * position.zoom * devicePixelRatio;
    if (!argument || side <= argument.shown) return;
    const longer = side * argument.longer;
    const tile = await this.tiles.run({ ...argument, seen: position.seen(), side: longer });
    if (!tile || number !== this.number) return;
    show(this.before, tile.before, tile.seen);
    show(this.after, tile.after, tile.seen);
    if (tile.after) this.cleared = cutHole(this.root.querySelector(".cut"), tile.seen);
  }
}

function show(canvas, picture, { left, top, right, bottom }) {
  canvas.hidden = !picture;
  if (!picture) return;
  Object.assign(canvas, { width: picture.width, height: picture.height });
  canvas.getContext("2d").drawImage(picture, 0, 0);
  const percent = (share) => `${100 * share}%`;
  Object.assign(canvas.style, { left: percent(left), top: percent(top), width: percent(right - left), height: percent(bottom - top) });
}

/** Take out of the coarse picture what the tile shows, as soft edges would lie on each other; the answer puts it back. */
function cutHole(canvas, { left, top, right, bottom }) {
  const context = canvas.getContext("2d");
  const [x, y] = [Math.round(left * canvas.width), Math.round(top * canvas.height)];
  const [width, height] = [Math.round(right * canvas.width) - x, Math.round(bottom * canvas.height) - y];
  const pixels = context.getImageData(x, y, width, height);
  context.clearRect(x, y, width, height);
  return () => context.putImageData(pixels, x, y);
}
