/** Decoded photos, upright: the one way in which this page measures, draws, shrinks and reads a photo. */

import { headerOf } from "./headers.js";

const KEEP_MS = 3000;
const END_OF_JPEG = new Uint8Array([0xff, 0xd9]);
/** Of a canvas that keeps colours under a faint alpha: it multiplies them by it, and 8 bits are too few for that. */
const EXACT = { colorType: "float16" };

/** By EXIF orientation: [a, b, c, d] of upright x = a * stored x + c * stored y, upright y = b * stored x + d * stored y. */
const TURNS = {
  1: [1, 0, 0, 1],
  2: [-1, 0, 0, 1],
  3: [-1, 0, 0, -1],
  4: [1, 0, 0, -1],
  5: [0, 1, 1, 0],
  6: [0, 1, -1, 0],
  7: [0, -1, -1, 0],
  8: [0, -1, 1, 0],
};

/** A canvas and its context. `isRead`: its pixels will be read, so it is kept in the CPU's memory. */
export function canvasOf(width, height, isRead = false, options = {}) {
  const canvas = globalThis.document ? document.createElement("canvas") : new OffscreenCanvas(width, height);
  Object.assign(canvas, { width, height });
  const context = canvas.getContext("2d", { willReadFrequently: isRead, ...options });
  context.imageSmoothingQuality = "high";
  return [canvas, context];
}

/** [width, height] with the longer side at most `longest`; never enlarged, at least 1. */
export function fit({ width, height }, longest) {
  const scale = Math.min(1, longest / Math.max(width, height));
  return [Math.round(width * scale) || 1, Math.round(height * scale) || 1];
}

/** A picture as it is meant to be seen, made from one that is stored in any of EXIF's orientations. */
export class Upright {
  constructor(stored, orientation = 1, isOpaque = true) {
    const [a, b, c, d] = TURNS[orientation];
    Object.assign(this, { stored, orientation, isOpaque, isSwapped: !a, fromRight: a + c < 0, fromBottom: b + d < 0 });
    [this.width, this.height] = this.isSwapped ? [stored.height, stored.width] : [stored.width, stored.height];
  }

  /** Draw it at `width` x `height`, its upper left corner at (`left`, `top`). */
  draw(context, width, height, left = 0, top = 0) {
    context.save();
    const turn = TURNS[this.orientation];
    context.setTransform(...turn, left + (this.fromRight ? width : 0), top + (this.fromBottom ? height : 0));
    context.drawImage(this.stored, 0, 0, ...(this.isSwapped ? [height, width] : [width, height]));
    context.restore();
  }

  /** The same with at most `longest` pixels a side. */
  scaled(longest) {
    const [width, height] = fit(this, longest);
    if (width === this.width && height === this.height) return this;
    const [canvas, context] = canvasOf(width, height, true);
    this.draw(context, width, height);
    return new Upright(canvas, 1, this.isOpaque);
  }

  /** `count` rows from `top` on as RGBA with straight alpha: width * count * 4 bytes. */
  rows(top, count) {
    const first = this.fromBottom ? this.height - top - count : top;
    const [x, y, width, height] = this.isSwapped
      ? [first, 0, count, this.stored.height]
      : [0, first, this.stored.width, count];
    const pixels = pixelsOf(this.stored, x, y, width, height, this.isOpaque ? {} : EXACT);
    return this.orientation === 1 ? pixels : this.turned(pixels, width, count);
  }

  turned(pixels, storedWidth, count) {
    const [across, down] = this.isSwapped ? [storedWidth, 1] : [1, storedWidth];
    const source = new Uint32Array(pixels.buffer);
    const target = new Uint32Array(this.width * count);
    const stepX = this.fromRight ? -across : across;
    let start = (this.fromRight ? (this.width - 1) * across : 0) + (this.fromBottom ? (count - 1) * down : 0);
    for (let row = 0, to = 0; row < count; row++, start += this.fromBottom ? -down : down) {
      for (let x = 0, from = start; x < this.width; x++, from += stepX) target[to++] = source[from];
    }
    return new Uint8ClampedArray(target.buffer);
  }
}

function pixelsOf(stored, x, y, width, height, options) {
  const [, context] = canvasOf(width, height, true, options);
  context.drawImage(stored, x, y, width, height, 0, 0, width, height);
  return context.getImageData(0, 0, width, height).data;
}

/** The decoded photo, or null if this browser cannot read it; kept for a moment, as many need it in a row. */
export function uprightOf(photo) {
  if (!photo.upright) {
    photo.upright = decodedFile(photo).catch(() => null);
    setTimeout(() => (photo.upright = null), KEEP_MS);
  }
  return photo.upright;
}

async function decodedFile(photo) {
  photo.header ??= await headerOf(new Uint8Array(await photo.file.arrayBuffer()));
  const { type, orientation, isOpaque } = photo.header;
  const file = unturned(photo);
  const byElement = (error) => (type === "image/jpeg" ? elementOf(file) : Promise.reject(error));
  return new Upright(await bitmapOf(file).catch(byElement), orientation, isOpaque);
}

/**
 * A JPEG without its end, as some panoramas are: browsers show it, but make no bitmap of it. Its last rows are shown
 * only with an end. What is cut off is grey.
 */
async function elementOf(file) {
  const image = new Image();
  image.src = URL.createObjectURL(new Blob([file, END_OF_JPEG], { type: "image/jpeg" }));
  try {
    await image.decode();
    const [canvas, context] = canvasOf(image.naturalWidth, image.naturalHeight, true);
    context.fillStyle = "#808080";
    context.fillRect(0, 0, canvas.width, canvas.height);
    context.drawImage(image, 0, 0);
    return canvas;
  } finally {
    URL.revokeObjectURL(image.src);
  }
}

/** The file with an orientation of 1, so that no browser turns it: each has rules of its own. */
function unturned({ file, header: { orientation, orientationAt } }) {
  if (orientation === 1 || !orientationAt) return file;
  return new Blob([file.slice(0, orientationAt), new Uint8Array([1]), file.slice(orientationAt + 1)], { type: file.type });
}

/** A file's picture with straight alpha, in sRGB; turned only by what its format obliges a decoder to do. */
export const bitmapOf = (blob) => createImageBitmap(blob, { premultiplyAlpha: "none" });
