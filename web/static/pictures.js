/** Shares in per cent, and pictures as files. */

import { canvasOf } from "./photos.js";

export const TYPES = { png: "image/png", webp: "image/webp", jpeg: "image/jpeg", avif: "image/avif" };
const QUALITY = 0.92;

/** `97 %`, near 0 and 1 `99.7 %`; rounded down there, so that only certainty is 100 %. */
export const percent = (share) => `${share >= 0.01 && share < 0.99 ? Math.round(share * 100) : Math.floor(share * 1000) / 10} %`;

/** Canvas -> Blob; rejects if the canvas is too large for this browser, or cannot be written as that type. */
export async function written(canvas, type, quality = QUALITY) {
  const blob = canvas.convertToBlob
    ? await canvas.convertToBlob({ type, quality })
    : await new Promise((resolve) => canvas.toBlob(resolve, type, quality));
  if (blob?.type !== type) throw new Error(`no ${type} in this browser`);
  return blob;
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
