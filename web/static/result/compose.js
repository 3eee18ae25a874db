/** What becomes of a cut-out: its crop and its background, and the file that a person gets. */

import { canvasOf } from "../photos.js";
import { TYPES, written } from "../pictures.js";
import { canWritePng, pngOf } from "./png.js";

/** How somebody wants to have cut-outs. `picture` is an Upright, for the background `picture`. */
export const PLAIN = { background: "", picture: null, isCropped: false, margin: 0.05 };

/** {left, top, width, height}: all of a cut-out, or its subject with a margin, as tasks/imaging/cutouts.py has it. */
export function boxOf(cutout, { isCropped, margin }) {
  const { width, height } = cutout;
  const subject = isCropped && cutout.subject();
  if (!subject) return { left: 0, top: 0, width, height };
  const [across, down] = [width / subject.width, height / subject.height];
  const room = margin * Math.max((subject.right - subject.left) * across, (subject.bottom - subject.top) * down);
  const left = Math.max(0, Math.floor(subject.left * across - room));
  const top = Math.max(0, Math.floor(subject.top * down - room));
  const right = Math.min(width, Math.ceil(subject.right * across + room));
  const bottom = Math.min(height, Math.ceil(subject.bottom * down + room));
  return { left, top, width: right - left, height: bottom - top };
}

/** {width, height, isOpaque, strips}: the cut-out with its background, cropped to `box`. */
export function composed(cutout, look, box) {
  const ground = groundOf(cutout, look);
  return { width: box.width, height: box.height, isOpaque: Boolean(ground), strips: strips(cutout, ground, box) };
}

async function* strips(cutout, ground, box) {
  for await (const [top, rows] of cutout.strips(box.top, box.top + box.height)) {
    const pixels = columns(rows, cutout.width, box);
    if (ground) lay(pixels, ground(top - box.top, pixels.length / 4 / box.width, box));
    yield pixels;
  }
}

function columns(rows, from, { left, width }) {
  if (width === from) return rows;
  const [source, count] = [new Uint32Array(rows.buffer), rows.length / 4 / from];
  const target = new Uint32Array(width * count);
  for (let row = 0; row < count; row++) {
    target.set(source.subarray(row * from + left, row * from + left + width), row * width);
  }
  return new Uint8ClampedArray(target.buffer);
}

/** Put the ground's pixels under `pixels`, in place. */
function lay(pixels, ground) {
  for (let at = 0; at < pixels.length; at += 4) {
    const share = pixels[at + 3] / 255;
    for (let i = at; i < at + 3; i++) pixels[i] = pixels[i] * share + ground[i] * (1 - share);
    pixels[at + 3] = 255;
  }
}

/** The function that gives the ground's rows within a box, or null for a transparent one. */
function groundOf(cutout, look) {
  if (!look.background) return null;
  return (top, count, box) => {
    const [, context] = canvasOf(box.width, count, true);
    paint(context, cutout, look, { ...box, shown: top });
    return context.getImageData(0, 0, box.width, count).data;
  };
}

/** The ground alone, for the part `box` of the cut-out. */
export function groundPicture(cutout, look, box) {
  const [canvas, context] = canvasOf(box.width, box.height);
  paint(context, cutout, look, { ...box, shown: 0 });
  return canvas;
}

/** Paint what of the ground lies in the box, from its row `shown` on. */
function paint(context, cutout, { background, picture }, { left, top, width, height, shown }) {
  if (background === "picture") return cover(context, picture, { width, height }, shown);
  if (background === "blur") {
    context.imageSmoothingQuality = "low"; // between its pixels in a straight line, as the server does
    return cutout.blurredGround.draw(context, cutout.width, cutout.height, -left, -top - shown);
  }
  context.fillStyle = background;
  context.fillRect(0, 0, width, height);
}

/** The middle of a picture, as much as fills the whole of `width` x `height`. */
export function cover(context, picture, { width, height }, shown = 0) {
  const scale = Math.max(width / picture.width, height / picture.height);
  const [across, down] = [picture.width * scale, picture.height * scale];
  context.fillStyle = "#fff"; // below what is transparent in it
  context.fillRect(0, 0, width, height);
  picture.draw(context, across, down, (width - across) / 2, (height - down) / 2 - shown);
}

/** A file of the picture; rejects if this browser cannot write that type, or no canvas of that size. */
export async function encoded(picture, type) {
  if (type === TYPES.png && canWritePng()) return pngOf(picture, picture.isOpaque ? 3 : 4);
  return written(await drawn(picture), type);
}

/** The picture on a canvas. */
export async function drawn({ width, height, strips }) {
  const [canvas, context] = canvasOf(width, height);
  let top = 0;
  for await (const rows of strips) {
    context.putImageData(new ImageData(rows, width), 0, top);
    top += rows.length / 4 / width;
  }
  return canvas;
}
