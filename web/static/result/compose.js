/** What becomes of a cut-out: its crop and its background, and the file that a person gets. */

import { canvasOf } from "../photo/photos.js";
import { TYPES, written } from "../photo/pictures.js";
import { canWritePng, pngOf } from "./png.js";
import { drawShadow, shadowOf } from "./shadow.js";

/**
 * How somebody wants to have cut-outs. For the background `picture`: the picture, which is an Upright here and a
 * file elsewhere, whether it is cut off (cover) or shown whole (contain), and where it lies, as CSS's
 * background-position says it, 0 to 1. `edge` is for all photos; strokes of the brush are a photo's own.
 */
export const PLAIN = {
  background: "",
  picture: null,
  fit: "cover",
  at: { x: 0.5, y: 0.5 },
  isCropped: false,
  margin: 0.05,
  edge: { softness: 0, shift: 0 },
  shadow: { strength: 0, softness: 0.4, distance: 0.2 },
};

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

/** {width, height, isOpaque, strips}: the cut-out with its shadow and background, cropped to `box`. */
export function composed(cutout, look, box) {
  const below = hasBelow(look) && new Below(cutout, look);
  return { width: box.width, height: box.height, isOpaque: Boolean(look.background), strips: strips(cutout, below, box) };
}

/** Whether there is something to see below the subject. */
const hasBelow = ({ background, shadow }) => Boolean(background || shadow.strength);

async function* strips(cutout, below, box) {
  for await (const [top, rows] of cutout.strips(box.top, box.top + box.height)) {
    const pixels = columns(rows, cutout.width, box);
    if (below) lay(pixels, below.rows(top - box.top, pixels.length / 4 / box.width, box));
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

/** Put what is below under `pixels`, in place; both have straight alpha. */
function lay(pixels, below) {
  for (let at = 0; at < pixels.length; at += 4) {
    const [alpha, under] = [pixels[at + 3] / 255, below[at + 3] / 255];
    const whole = alpha + under * (1 - alpha);
    const share = whole ? alpha / whole : 1;
    for (let i = at; i < at + 3; i++) pixels[i] = pixels[i] * share + below[i] * (1 - share);
    pixels[at + 3] = whole * 255;
  }
}

/** What lies below the subject: the background and, on it, the shadow. */
class Below {
  constructor(cutout, look) {
    Object.assign(this, { cutout, look, shadow: look.shadow.strength && shadowOf(cutout, look.shadow) });
  }

  /** `count` rows from `top` on, within a box of the cut-out, as RGBA. */
  rows(top, count, box) {
    const [, context] = canvasOf(box.width, count, true);
    this.paint(context, { ...box, shown: top }, this.look.background);
    return context.getImageData(0, 0, box.width, count).data;
  }

  /** Paint what lies in the box, from its row `shown` on. */
  paint(context, { left, top, width, height, shown }, background) {
    const { cutout, look, shadow } = this;
    if (background === "picture") {
      place(context, look.picture, look, { width, height }, shown);
    } else if (background === "blur") {
      context.imageSmoothingQuality = "low"; // between its pixels in a straight line, as the server does
      cutout.blurredGround.draw(context, cutout.width, cutout.height, -left, -top - shown);
      context.imageSmoothingQuality = "high";
    } else if (background) {
      context.fillStyle = background;
      context.fillRect(0, 0, width, height);
    }
    if (shadow) drawShadow(context, shadow, look.shadow, cutout, left, top + shown);
  }
}

/** What is below the subject, without a background of one colour, for the part `box` of the cut-out; null if nothing is. */
export function belowPicture(cutout, look, box) {
  const background = look.background.startsWith("#") ? "" : look.background;
  if (!background && !look.shadow.strength) return null;
  const [canvas, context] = canvasOf(box.width, box.height);
  new Below(cutout, look).paint(context, { ...box, shown: 0 }, background);
  return canvas;
}

/** A picture so that it covers all of `width` x `height`, or is all to be seen; `shown`: the first row that is. */
export function place(context, picture, { fit, at }, { width, height }, shown = 0) {
  const scales = [width / picture.width, height / picture.height];
  const scale = fit === "contain" ? Math.min(...scales) : Math.max(...scales);
  const [across, down] = [picture.width * scale, picture.height * scale];
  context.fillStyle = "#fff"; // beside it, and below what is transparent in it
  context.fillRect(0, 0, width, height);
  picture.draw(context, across, down, (width - across) * at.x, (height - down) * at.y - shown);
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
