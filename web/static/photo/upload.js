/** Uploads a photo to S3 by a signed URL: hash, shrink if that helps, PUT. The web process gets no image bytes. */

import { ApiError, call, retry } from "../api.js";
import { Renderer } from "../result/renderer.js";
import { headerOf } from "./headers.js";
import { uprightOf } from "./photos.js";
import { canWrite, shrunk, TYPES } from "./pictures.js";

export const MAX_SIDE = 2048;
const SMALL_BYTES = 1_000_000;
const QUALITY = 0.9;
const MIN_GAIN = 0.8; // a shrunk photo is sent if it has less than this share of the bytes
const renderer = new Renderer();
const sizes = new Map(); // by hash
const HINT = "Add a JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP, GIF or JPEG XL.";

/** SHA-256 as hex. Null outside a secure context (plain http on a LAN): known photos are sent again then. */
export async function sha256(bytes) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** The photo as a smaller file of `type`: in a worker, once that is loaded. */
async function shrink(photo, type) {
  const asked = { photo, side: MAX_SIDE, type, quality: QUALITY };
  if (!renderer.isReady) return renderer.start(), shrunk(asked);
  const { file, header } = photo;
  return (await renderer.call("shrunk", { ...asked, photo: { file, header } })) ?? shrunk(asked);
}

/** The type of a shrunk photo: one that keeps what is transparent. */
export async function shrunkType({ header }) {
  if (header.isOpaque) return TYPES.jpeg;
  return (await canWrite(TYPES.webp)) ? TYPES.webp : TYPES.png;
}

/**
 * The job for `photo` under `request` ({model, params}). The photo is sent only if the server lacks it.
 * What is learnt is kept in `photo` (sha256, size, variant, upload), so that a second run sends nothing.
 * `onPhase(phase, details)` reports hashing, shrinking, uploading {fraction, total}, retrying {seconds, error}.
 */
export async function submit(photo, request, { sendOriginal, signal, onPhase }) {
  const onWait = (seconds, error) => onPhase("retrying", { seconds, error });
  const post = (path, body) => retry(() => call("POST", path, body, signal), signal, onWait);
  const ask = (variant, blob) => jobOrSlot(post, photo, request, variant, blob);

  if (photo.upload && (!photo.file || photo.sendOriginal === sendOriginal)) {
    const job = await post("/jobs", { upload: photo.upload, ...request }).catch(unless404);
    if (job) return job;
  }
  const wanted = await choose(photo, sendOriginal, onPhase);
  const making = photo.file && make(photo, wanted);
  let slot = await ask(wanted, wanted === "original" ? (await making)?.blob : null);
  if (slot?.job) return slot.job;
  if (!photo.file) throw new ApiError("This photo is no longer on the server.", { hint: "Add it again.", status: 404 });
  if (wanted !== "original") onPhase("shrinking");
  const { blob, variant } = await making;
  slot ??= await ask(variant, blob);
  if (slot.job) return slot.job;

  const onBytes = (sent) => onPhase("uploading", { fraction: sent / blob.size, total: blob.size });
  onBytes(0);
  const send = async () => {
    slot ??= await ask(variant, blob);
    if (slot.job) return;
    try {
      await put(slot, blob, signal, onBytes);
    } catch (error) {
      if (error.status === 0) slot = null; // a refused or broken PUT gets a new signed URL
      throw error;
    }
  };
  await retry(send, signal, onWait);
  if (slot.job) return slot.job;
  Object.assign(photo, { upload: slot.id, sent: blob.size });
  return post("/jobs", { upload: photo.upload, ...request });
}

/** {job} if the server has this variant, else the upload slot for `blob`; null if that is not made yet. */
async function jobOrSlot(post, photo, request, variant, blob) {
  const about = blob ? { size: blob.size, type: blob.type } : {};
  if (!photo.sha256) return blob && (await post("/uploads", { ...about, variant })).upload;
  const answer = await post("/jobs", { sha256: photo.sha256, variant, or_upload: true, ...about, ...request });
  return answer.id ? { job: answer } : blob && answer.upload;
}

function unless404(error) {
  if (error.status !== 404) throw error;
}

/** The variant to send; hashes and decodes the photo the first time. */
async function choose(photo, sendOriginal, onPhase) {
  if (!photo.file) return photo.variant;
  await examine(photo, onPhase);
  if (!photo.size && !photo.header.type) {
    throw new ApiError("This file is not a photo that can be read here.", { hint: HINT, code: "unsupported_type" });
  }
  photo.sendOriginal = sendOriginal;
  photo.variant = isShrunk(photo, sendOriginal) ? `${(await shrunkType(photo)).split("/")[1]}-${MAX_SIDE}` : "original";
  return photo.variant;
}

/** Whether a smaller copy is made of a photo that `examine` has looked at. */
export function isShrunk({ size, file, header }, sendOriginal) {
  const helps = size && (Math.max(size.width, size.height) > MAX_SIDE || file.size > SMALL_BYTES);
  return (helps && !sendOriginal && !header.isUnusual) || !header.type;
}

/**
 * Learn all that asking, sending and drawing need, once: header, hash, and the size as it is drawn here (null: it
 * cannot be). A photo that was here before (`isKnown`) is not decoded, as its result is likely to be there already.
 */
export async function examine(photo, onPhase) {
  if (photo.header && photo.sha256 !== undefined) return;
  if (!photo.file.size) throw new ApiError("The file is empty: it has no bytes.", { code: "empty", status: 422 });
  onPhase("hashing");
  const bytes = await photo.file.arrayBuffer();
  photo.header = photo.volumeType ? { type: photo.volumeType } : await headerOf(new Uint8Array(bytes));
  const hash = await sha256(bytes);
  photo.isKnown = sizes.has(hash);
  const upright = sizes.get(hash) ?? (photo.volumeType ? null : await uprightOf(photo));
  photo.sha256 = hash;
  photo.size = upright && { width: upright.width, height: upright.height };
  if (hash) sizes.set(hash, photo.size);
}

/** The bytes of a variant; the original if shrinking fails or gains little. */
async function make(photo, variant) {
  const { file, header } = photo;
  const original = file && new Blob([file], { type: header.type ?? file.type }); // by its bytes, not by its name
  if (variant === "original") return { blob: original, variant };
  const blob = await shrink(photo, await shrunkType(photo)).catch(() => null);
  if (blob && (!header.type || blob.size < file.size * MIN_GAIN)) return { blob, variant };
  return { blob: original, variant: (photo.variant = "original") };
}

/** PUT with progress, which fetch lacks. Exactly the signed headers are sent. */
export function put({ url, method, headers }, blob, signal, onBytes) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const fail = (status) =>
      reject(new ApiError("The photo could not be sent.", { hint: "Check the connection, then try again.", status }));
    request.open(method || "PUT", url);
    for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => onBytes(event.loaded);
    request.onload = () => {
      if (request.status < 300) resolve();
      else fail(request.status === 403 || request.status >= 500 ? 0 : request.status);
    };
    request.onerror = request.ontimeout = () => fail(0);
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(blob);
  });
}
