/** From an item to what the renderer needs: the person's own photo, and the server's objects. */

import { call } from "../api.js";
import { headerOf, TURNED_HERE } from "../photo/headers.js";
import { fit, uprightOf } from "../photo/photos.js";
import { t } from "../words.js";

const MOST_BLOBS = 8;
const blobs = new Map();

let keys = 0;
const keyOf = (item) => (item.key ??= `item-${++keys}`);

const results = new Map(); // what is drawn -> {key, job}: the same photo with the same result is not decoded again

/** What the renderer knows an item with a result by: as the first one of the same photo and objects. */
function sameAs(item) {
  const { photo, job } = item;
  const paths = Object.values(job.result?.objects ?? {}).map(({ url }) => new URL(url, location).pathname);
  if (!photo.sha256 || !photo.file || !paths.length) return { key: keyOf(item), job: job.id };
  const sign = [photo.sha256, ...paths].join(" ");
  if (!results.has(sign)) results.set(sign, { key: keyOf(item), job: job.id });
  return results.get(sign);
}

/** Open the item's own photo in the renderer: {key, size}; the size is null if this browser cannot read it. */
export async function openPhoto(renderer, item, key = keyOf(item)) {
  const photo = await photoOf(item);
  let size = await renderer.call("open", { key, photo });
  if (photo && !size) size = await renderer.call("open", { key, photo: await decodedHere(item.photo) });
  return { key, size };
}

/** What the renderer needs of a photo; after a reload its small copy; null without both. */
async function photoOf({ photo, thumb, job }) {
  if (!photo.file) return thumb ? { file: await (await fetch(thumb)).blob() } : null;
  photo.header ??= await headerOf(new Uint8Array(await photo.file.arrayBuffer()));
  const { file, header } = turnedAsByServer(photo, job?.result);
  return { file, header };
}

/** What only the page itself can decode: a JPEG without its end. */
async function decodedHere(photo) {
  const upright = await uprightOf(photo);
  if (!upright) return null;
  const { orientation, isOpaque, width, height } = upright;
  if (orientation === 1) return { bitmap: await createImageBitmap(upright.stored), isOpaque };
  const canvas = new OffscreenCanvas(width, height);
  upright.draw(canvas.getContext("2d"), width, height);
  return { bitmap: canvas.transferToImageBitmap(), isOpaque };
}

/** Where the server has turned the file otherwise than this page would, the page follows it. */
function turnedAsByServer(photo, result) {
  const { header, variant } = photo;
  const orientation = variant === "original" && TURNED_HERE.includes(header?.type) && result?.orientation;
  if (orientation && orientation !== header.orientation) {
    Object.assign(photo, { header: { ...header, orientation }, upright: null });
  }
  return photo;
}

/** A sentence if the photo as drawn here is not what the server had, so that nothing of it would fit; else "". */
function misfitOf({ photo, job }, size) {
  const { width, height } = job.result;
  if (!photo.variant || !photo.file || !size || !width) return "";
  const shrunk = fit(size, Math.max(width, height));
  const slack = photo.variant === "original" ? 0 : 1; // a shrunk photo's shorter side was rounded
  if (Math.abs(shrunk[0] - width) <= slack && Math.abs(shrunk[1] - height) <= slack) return "";
  const text = "This browser draws the photo at {here}, but the server read it as {there}. What you see and download is the server's picture.";
  return t(text, { here: `${size.width} × ${size.height}`, there: `${width} × ${height}` });
}

/**
 * Open a finished item in the renderer: {key, size, misfit, hasCutout, isMadeHere, isOwn, hasMatte}. `isMadeHere`: its
 * cut-out is made of a photo and the matte; else it is the server's preview. `isOwn`: the photo is the person's own
 * file, and not the server's picture of it, so that files need nothing more.
 */
export async function openResult(renderer, item) {
  const { key, job } = sameAs(item);
  let { size } = await openPhoto(renderer, item, key);
  const misfit = misfitOf(item, size);
  const { objects = {}, kind } = item.job.result;
  const hasMatte = Boolean(objects.alpha);
  const isOwn = Boolean(hasMatte && item.photo.file && size && !misfit && isReadAlike(item));
  const theirs = hasMatte && !isOwn ? await photoByServer(item) : null;
  if (theirs || misfit) size = await renderer.call("open", { key, photo: theirs && { file: theirs } });
  const isMadeHere = Boolean(isOwn || theirs);
  const parts = kind === "boxes" ? {} : isMadeHere ? await matteOf(item) : await previewOf(item);
  await renderer.call("give", { key, job, parts });
  return { key, size, misfit, hasCutout: Boolean(parts.alpha || parts.cut), isMadeHere, isOwn, hasMatte };
}

/** Whether this browser shows the photo in the colours that the server has read. */
const isReadAlike = ({ photo, job }) => photo.variant !== "original" || job.result.browsers_agree;

/** The photo as the server has read it, for the screen; null if there is none, and no file of which it could be made. */
async function photoByServer(item) {
  if (item.job.result.objects.photo) return objectOf(item, "photo");
  if (!item.photo.file) return null;
  const { createdPicture } = await import("../remote/created.js");
  return createdPicture(item, {}, "photo").catch(() => null);
}

export async function matteOf(item) {
  const hasEdges = item.job.result.objects.edge_colours;
  const [alpha, edges] = await Promise.all([objectOf(item, "alpha"), hasEdges && objectOf(item, "edge_colours")]);
  return { alpha, edges };
}

async function previewOf(item) {
  const { objects = {} } = item.job.result;
  const name = objects.preview ? "preview" : Object.keys(objects)[0];
  return name ? { cut: await objectOf(item, name) } : {};
}

/** An object of the result as a Blob. */
export async function objectOf(item, name) {
  item.blobs ??= {};
  return (item.blobs[name] ??= await fetched(item.job, name).catch(async () => {
    // Its signed URL may have expired; the job has a new one.
    item.job = await call("GET", `/jobs/${item.job.id}`);
    return fetched(item.job, name);
  }));
}

/** An object of a job as a Blob; it never changes. */
export async function fetched(job, name) {
  const { url } = job.result.objects[name];
  const { pathname } = new URL(url, location);
  if (!blobs.has(pathname)) {
    const response = await fetch(url, { credentials: "omit" });
    if (!response.ok) throw new Error(`${name}: ${response.status}`);
    blobs.set(pathname, await response.blob());
    if (blobs.size > MOST_BLOBS) blobs.delete(blobs.keys().next().value);
  }
  return blobs.get(pathname);
}
