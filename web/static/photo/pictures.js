/** Pictures as files. */

import { canvasOf, fit, uprightOf } from "./photos.js";

export const TYPES = { png: "image/png", webp: "image/webp", jpeg: "image/jpeg", avif: "image/avif" };
const QUALITY = 0.92;
const THUMB_SIDE = 480;
const THUMB_QUALITY = 0.75;

/** Canvas -> Blob; rejects if the canvas is too large for this browser, or cannot be written as that type. */
export async function written(canvas, type, quality = QUALITY) {
  const blob = canvas.convertToBlob
    ? await canvas.convertToBlob({ type, quality })
    : await new Promise((resolve) => canvas.toBlob(resolve, type, quality));
  if (blob?.type !== type) throw new Error(`no ${type} in this browser`);
  return blob;
}

/** The photo upright, at most `side` a side, as a file; null if it cannot be decoded here. */
export async function shrunk({ photo, side, type, quality }) {
  const upright = await uprightOf(photo);
  if (!upright) return null;
  const [canvas, context] = canvasOf(...fit(upright, side));
  upright.draw(context, canvas.width, canvas.height);
  return written(canvas, type, quality);
}

const known = new Map();

/** Whether this browser can write files of a type. */
export function canWrite(type) {
  if (!known.has(type)) known.set(type, written(canvasOf(1, 1)[0], type).then(() => true, () => false));
  return known.get(type);
}

/** Download a Blob as a file; it stays for `keep_ms`, as browsers read it later. */
export function save(blob, name, keep_ms = 10_000) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), keep_ms);
}

/** A small copy of a photo as a data: address; null if the browser cannot read the photo. */
export async function thumbnailOf(photo) {
  const upright = await uprightOf(photo);
  if (!upright) return null;
  const [canvas, context] = canvasOf(...fit(upright, THUMB_SIDE));
  upright.draw(context, canvas.width, canvas.height);
  return canvas.toDataURL(upright.isOpaque ? TYPES.jpeg : TYPES.webp, THUMB_QUALITY);
}
