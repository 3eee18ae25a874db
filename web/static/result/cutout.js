/** Computes a cut-out from the person's own photo: exactly the pixels that the server's own cut-outs have. */

import { canvasOf, fit, Upright } from "../photo/photos.js";
import { blurredGround } from "./blur.js";
import { isShaped, reachOf, shaped } from "./edge.js";
import { between, Enlarger, greatest } from "./enlarge.js";
import { KeptRows } from "./rows.js";
import { mend, strokeRows } from "./strokes.js";

const WORK_SIDE = 2048; // the server finds the subject at this size
const SUBJECT = 13; // an alpha from which on a pixel belongs to the subject
const STRIP_PIXELS = 2 ** 19; // computed at a time: little memory, and others get their turn in between
/** What a person has changed of a matte: its edge, and strokes of the brush. */
const UNCHANGED = { softness: 0, shift: 0, strokes: [] };

export class Cutout {
  /**
   * `source`: the photo. `alpha`: the server's grey picture of any size, or null if `source` is cut out already.
   * `edges`: the server's colours near soft edges (those of the subject above, of the ground below), or null.
   * `change`: {softness, shift, strokes}. `common`: what cut-outs that differ in their change alone have in common.
   */
  constructor(source, alpha, edges, change = UNCHANGED, common = {}) {
    Object.assign(this, { source, alpha, edges, change, common, width: source.width, height: source.height });
    this.isChanged = isShaped(change) || change.strokes.length > 0;
  }

  /** The same with another change. */
  changed(change) {
    return new Cutout(this.source, this.alpha, this.edges, change, this.common);
  }

  /** The same, at most `longest` pixels a side. */
  scaled(longest) {
    const source = this.source.scaled(longest);
    return source === this.source ? this : new Cutout(source, this.alpha, this.edges, this.change, { blurred: this.common.blurred });
  }

  /** Yields [top, rows as RGBA with straight alpha] from `top` to `bottom`. RGB is 0 where alpha is. */
  async *strips(top = 0, bottom = this.height) {
    const count = Math.max(1, Math.floor(STRIP_PIXELS / this.width));
    for (; top < bottom; top += count) {
      yield [top, this.rows(top, Math.min(count, bottom - top))];
      await new Promise((resolve) => setTimeout(resolve)); // other things get their turn
    }
  }

  /** {left, top, right, bottom} of the subject in a picture of {width, height}, which may be smaller; null without. */
  subject() {
    if (this.found === undefined) {
      const [width, height] = fit(this.isChanged ? this : (this.alpha ?? this), WORK_SIDE);
      const outline = outlineOf(this.alphaAt(width, height), width);
      this.found = outline && { ...outline, width, height };
    }
    return this.found;
  }

  /** What is to be seen, at any size that is not larger: one byte per pixel. */
  alphaAt(width, height) {
    if (!this.isChanged) return this.foundAlphaAt(width, height);
    const small = this.scaled(Math.max(width, height));
    return alphaBytes(small.rows(0, small.height));
  }

  /** The same before all changes. */
  foundAlphaAt(width, height) {
    return greyRows(this.alpha ?? alphaOf(this.source, width, height), { width, height }, 0, height);
  }

  /** The photo's ground, blurred, as a small picture; `null` where there is no photo but only what was cut out. */
  get blurredGround() {
    const { common } = this;
    if (this.alpha) common.blurred ??= blurredGround(this.source, (...size) => this.foundAlphaAt(...size));
    return common.blurred ?? null;
  }

  rows(top, count) {
    const pixels = this.source.rows(top, count);
    if (!this.alpha && !this.isChanged) return pixels;
    const strokes = strokeRows(this.change.strokes, this.width, this.height, top, count);
    const kept = strokes && pixels.slice();
    const [found, left] = this.isChanged ? this.changedMattes(top, count, strokes) : Array(2).fill(this.foundMattes(top, pixels));
    if (this.edges) removeGround(pixels, found, this.edges, this, top);
    if (strokes) putBack(pixels, kept, strokes);
    finish(pixels, left, !this.alpha);
    return pixels;
  }

  /** [mattes that the model has found, those with the person's changes] of `count` rows from `top` on. */
  changedMattes(top, count, strokes) {
    const { width, height, change, common } = this;
    const longest = Math.max(width, height);
    const reach = isShaped(change) ? reachOf(change, longest) : 0;
    const [from, to] = [Math.max(0, top - reach), Math.min(height, top + count + reach)];
    const make = (first, rows) => new Uint8ClampedArray(this.foundMattes(first, this.source.rows(first, rows)));
    common.mattes ??= new KeptRows(width, height, make);
    const around = common.mattes.rows(from, to);
    const own = (map) => map.slice((top - from) * width, (top - from + count) * width);
    const left = own(isShaped(change) ? shaped(around, width, change, longest) : around);
    if (strokes) mend(left, strokes);
    return [own(around), left];
  }

  /** What the model has left of each pixel; of a source that is cut out already, its alpha. */
  foundMattes(top, pixels) {
    if (!this.alpha) return alphaBytes(pixels);
    return this.isEnlarged() ? this.enlarger.strip(top, overWhite(pixels, this.source.isOpaque)) : this.matteOf(pixels, top);
  }

  isEnlarged() {
    return this.width > this.alpha.width || this.height > this.alpha.height;
  }

  /** What the model has left of each of these pixels: the server's alpha has the upload's own in it. */
  matteOf(pixels, top) {
    const alpha = greyRows(this.alpha, this, top, pixels.length / 4 / this.width);
    return this.source.isOpaque ? alpha : Float32Array.from(alpha, (value, i) => shareOf(value, pixels[4 * i + 3]));
  }

  get enlarger() {
    return (this.common.enlarger ??= new Enlarger(smallMatte(this.source, this.alpha), this.width, this.height));
  }
}

function alphaBytes(pixels) {
  const alphas = new Uint8Array(pixels.length / 4);
  for (let i = 0; i < alphas.length; i++) alphas[i] = pixels[4 * i + 3];
  return alphas;
}

/** The photo's own colours again where the brush has kept something. */
function putBack(pixels, photo, strokes) {
  for (let at = 0; at < pixels.length; at += 4) {
    const share = (strokes[at] * strokes[at + 3]) / 65025;
    if (share) for (let i = at; i < at + 3; i++) pixels[i] += (photo[i] - pixels[i]) * share;
  }
}

/** Write mattes into the alpha of pixels; `isWhole`: the mattes have the pixels' own alpha in them. */
function finish(pixels, mattes, isWhole) {
  for (let i = 0, at = 3; i < mattes.length; i++, at += 4) {
    pixels[at] = isWhole && pixels[at] ? mattes[i] : (pixels[at] * mattes[i]) / 255;
    if (!pixels[at]) pixels[at - 3] = pixels[at - 2] = pixels[at - 1] = 0;
  }
}

const shareOf = (alpha, own) => (own ? Math.min(255, (alpha * 255) / own) : 0);

/** The matte and the photo at the size of the server's picture, for the Enlarger. */
function smallMatte(source, grey) {
  const { width, height } = grey;
  const [, context] = canvasOf(width, height, true);
  context.fillStyle = "#fff"; // below what is transparent in the upload
  context.fillRect(0, 0, width, height);
  source.draw(context, width, height);
  const guide = context.getImageData(0, 0, width, height).data;
  const alpha = greyRows(grey, grey, 0, height);
  if (source.isOpaque) return { width, height, alpha, guide };
  const own = greyRows(alphaOf(source, width, height), grey, 0, height);
  const matte = alpha.map((value, i) => Math.round(shareOf(value, own[i])));
  // Nothing is known of the matte where the upload is transparent: what is beside goes on there, so that its own
  // edges are not softened twice.
  const around = greatest(matte, width, height);
  return { width, height, guide, alpha: matte.map((value, i) => (own[i] ? value : around[i])) };
}

function overWhite(pixels, isOpaque) {
  if (isOpaque) return pixels;
  const white = pixels.slice();
  for (let at = 0; at < white.length; at += 4) {
    const share = white[at + 3] / 255;
    for (let i = at; i < at + 3; i++) white[i] = 255 - (255 - white[i]) * share;
  }
  return white;
}

/** The alpha of a picture as a grey one of `width` x `height`. */
function alphaOf(picture, width, height) {
  const [canvas, context] = canvasOf(width, height, true);
  picture.draw(context, width, height);
  const pixels = context.getImageData(0, 0, width, height);
  for (let at = 0; at < pixels.data.length; at += 4) {
    pixels.data.fill(pixels.data[at + 3], at, at + 3);
    pixels.data[at + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return new Upright(canvas);
}

/** {left, top, right, bottom} of what belongs to the subject in alphas `width` wide; null if nothing does. */
function outlineOf(alphas, width) {
  let [left, top, right, bottom] = [width, Infinity, 0, 0];
  for (let from = 0, y = 0; from < alphas.length; from += width, y++) {
    const row = alphas.subarray(from, from + width);
    const first = row.findIndex((alpha) => alpha >= SUBJECT);
    if (first < 0) continue;
    [left, top] = [Math.min(left, first), Math.min(top, y)];
    [right, bottom] = [Math.max(right, row.findLastIndex((alpha) => alpha >= SUBJECT) + 1), y + 1];
  }
  return bottom ? { left, top, right, bottom } : null;
}

/** `count` rows from `top` on of a grey picture enlarged or shrunk to `width` x `height`: one byte per pixel. */
export function greyRows(grey, { width, height }, top, count) {
  const [, context] = canvasOf(width, count, true);
  context.imageSmoothingEnabled = grey.width !== width || grey.height !== height;
  grey.draw(context, width, height, 0, -top);
  const { data } = context.getImageData(0, 0, width, count);
  const rows = new Uint8Array(width * count);
  for (let i = 0; i < rows.length; i++) rows[i] = data[4 * i];
  return rows;
}

/** What `removeGround` needs of the server's picture of colours. */
export function edgesOf(picture) {
  const [, context] = canvasOf(picture.width, picture.height, true);
  context.drawImage(picture, 0, 0);
  const { width, data } = context.getImageData(0, 0, picture.width, picture.height);
  return { width, height: picture.height / 2, data };
}

/**
 * Take the ground's colour out of soft pixels, as the server does (tasks/imaging/alpha.py): Forte, ICIP 2021,
 * equation 4, with colours enlarged as cv2.INTER_LINEAR does.
 */
function removeGround(pixels, mattes, edges, { width, height }, top) {
  const columns = between(width, edges.width);
  const rows = between(height, edges.height, top, mattes.length / width);
  for (let i = 0, row = 0; i < mattes.length; row++) {
    const [above, below] = [rows.before[row] * edges.width, rows.behind[row] * edges.width];
    for (let x = 0; x < width; x++, i++) {
      if (!(mattes[i] > 0 && mattes[i] < 255)) continue;
      const [left, right] = [columns.before[x], columns.behind[x]];
      const corners = [above + left, above + right, below + left, below + right];
      fuse(pixels, 4 * i, mattes[i] / 255, edges, corners, columns.share[x], rows.share[row]);
    }
  }
}

function fuse(pixels, at, share, { width, height, data }, corners, across, down) {
  const below = 4 * width * height;
  for (let channel = 0; channel < 3; channel++) {
    const front = mixed(data, channel, corners, across, down);
    const back = mixed(data, channel + below, corners, across, down);
    pixels[at + channel] = front + share * (pixels[at + channel] - share * front - (1 - share) * back);
  }
}

function mixed(data, offset, [a, b, c, d], across, down) {
  const upper = data[4 * a + offset] * (1 - across) + data[4 * b + offset] * across;
  const lower = data[4 * c + offset] * (1 - across) + data[4 * d + offset] * across;
  return Math.round(upper * (1 - down) + lower * down);
}
