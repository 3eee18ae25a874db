/** Pictures: loads them, composes them on a canvas, saves them as files. */

import { call } from "./api.js";

const KEEP_MS = 3000;

// White text on each has a contrast of at least 4.5 : 1.
const PALETTE = ["#0b7468", "#b93a22", "#6a45c9", "#8a5c00", "#1f66b0", "#a03279"];

function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  return [canvas, context];
}

/** The picture on a canvas of at most `longest` pixels a side. */
export function fitted(picture, longest, background = "") {
  const scale = Math.min(1, longest / Math.max(picture.width, picture.height));
  const [canvas, context] = canvasOf(Math.round(picture.width * scale) || 1, Math.round(picture.height * scale) || 1);
  context.fillStyle = background || "transparent";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Grey picture -> canvas with that grey as its alpha. */
export function alphaOf(grey) {
  const [canvas, context] = canvasOf(grey.width, grey.height);
  context.drawImage(grey, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const data = pixels.data;
  for (let i = 0; i < data.length; i += 4) data[i + 3] = data[i];
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** `source` with `alpha`, at the source's size, on a colour or transparent. */
export function cutOut(alpha, source, background = "") {
  const [canvas, context] = canvasOf(source.width, source.height);
  context.drawImage(alpha, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-in";
  context.drawImage(source, 0, 0);
  if (background) {
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = background;
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  return canvas;
}

/** `source` with boxes drawn on it; `scale` = pixels of the source per pixel of the boxes. */
export function boxed(source, boxes, colours, scale) {
  const [canvas, context] = canvasOf(source.width, source.height);
  context.drawImage(source, 0, 0);
  const line = Math.max(2, Math.max(canvas.width, canvas.height) / 400);
  context.lineWidth = line;
  context.font = `600 ${line * 6}px system-ui, sans-serif`;
  context.textBaseline = "bottom";
  for (const { box, label, score } of boxes) {
    const [x1, y1, x2, y2] = box.map((edge) => edge * scale);
    const text = `${label} ${percent(score)}`;
    context.fillStyle = context.strokeStyle = colours.get(label);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const top = Math.max(y1, line * 9);
    const wide = context.measureText(text).width + line * 4;
    const left = Math.max(0, Math.min(x1 - line / 2, canvas.width - wide));
    context.fillRect(left, top - line * 9, wide, line * 9);
    context.fillStyle = "#fff";
    context.fillText(text, left + line * 2, top - line);
  }
  return canvas;
}

/** Label -> colour, the same for the same set of labels. */
export function coloursOf(boxes) {
  const labels = [...new Set(boxes.map(({ label }) => label))].sort();
  return new Map(labels.map((label, index) => [label, PALETTE[index % PALETTE.length]]));
}

/** Canvas -> Blob; rejects if the canvas is too large for this browser. */
export function encoded(canvas, type, quality = 0.92) {
  return new Promise((resolve, reject) => {
    const made = (blob) => (blob?.type === type ? resolve(blob) : reject(new Error(`no ${type} in this browser`)));
    canvas.toBlob(made, type, quality);
  });
}

/** `97 %`, near 0 and 1 `99.7 %`; rounded down there, so that only certainty is 100 %. */
export const percent = (share) => `${share >= 0.01 && share < 0.99 ? Math.round(share * 100) : Math.floor(share * 1000) / 10} %`;

/** The decoded photo; kept for a moment, since upload, viewer and thumbnail need it in a row. */
export function bitmapOf(photo) {
  if (!photo.bitmap) {
    photo.bitmap = readable(photo.file);
    setTimeout(() => (photo.bitmap = null), KEEP_MS);
  }
  return photo.bitmap;
}

/** The person's own photo, upright; after a reload its small copy; null if the browser cannot read it. */
export async function original(item) {
  return (item.photo.file && (await bitmapOf(item.photo))) || (item.thumb ? readable(await (await fetch(item.thumb)).blob()) : null);
}

/** An object of the result as a Blob. */
export async function objectOf(item, name) {
  const get = async () => {
    const response = await fetch(item.job.result.objects[name].url, { credentials: "omit" });
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    return response.blob();
  };
  item.blobs ??= {};
  return (item.blobs[name] ??= await get().catch(async () => {
    // Its signed URL may have expired; the job has a new one.
    item.job = await call("GET", `/jobs/${item.job.id}`);
    return get();
  }));
}

export const readable = (blob) => createImageBitmap(blob, { imageOrientation: "from-image" }).catch(() => null);

/** Download a Blob as a file. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
