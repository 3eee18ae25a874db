/** Uploads a photo to S3 by a signed URL: hash, shrink if that helps, PUT. The web process gets no image bytes. */

import { ApiError, call, retry } from "./api.js";
import { bitmapOf, encoded, fitted } from "./pictures.js";

const MAX_SIDE = 2048;
const SHRUNK = "jpeg-2048";
const SMALL_BYTES = 1_000_000;
const QUALITY = 0.9;
const MIN_GAIN = 0.8; // a shrunk photo is sent if it has less than this share of the bytes
const ACCEPTED = ["image/jpeg", "image/png", "image/webp", "image/avif"];

/** SHA-256 as hex. Null outside a secure context (plain http on a LAN): known photos are sent again then. */
export async function sha256(file) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Width and height of the upright picture, or null if this browser cannot read it. */
export async function measure(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  const loaded = new Promise((resolve) => {
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => resolve(null);
  });
  return loaded.finally(() => URL.revokeObjectURL(image.src));
}

/** The photo upright and on white, at most MAX_SIDE a side, as a JPEG. */
async function shrink(photo) {
  return encoded(fitted(await bitmapOf(photo), MAX_SIDE, "#fff"), "image/jpeg", QUALITY);
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

  if (photo.upload && photo.sendOriginal === sendOriginal) {
    const job = await post("/jobs", { upload: photo.upload, ...request }).catch(unless404);
    if (job) return job;
  }
  const wanted = await choose(photo, sendOriginal, onPhase);
  const making = make(photo, wanted);
  let slot = await ask(wanted, wanted === "original" ? photo.file : null);
  if (slot?.job) return slot.job;
  if (!photo.file) throw new ApiError("This photo is no longer on the server.", { hint: "Add it again." });
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
  try {
    return { job: await post("/jobs", { sha256: photo.sha256, variant, ...about, ...request }) };
  } catch (error) {
    if (error.code !== "upload_needed") throw error;
    return blob && error.body.upload;
  }
}

function unless404(error) {
  if (error.status !== 404) throw error;
}

/** The variant to send; hashes and measures the photo the first time. */
async function choose(photo, sendOriginal, onPhase) {
  if (!photo.file) return photo.variant;
  if (photo.sha256 === undefined) {
    onPhase("hashing");
    [photo.sha256, photo.size] = await Promise.all([sha256(photo.file), measure(photo.file)]);
  }
  const { size, file } = photo;
  const accepted = ACCEPTED.includes(file.type);
  if (!size && !accepted) {
    throw new ApiError("This file is not a photo that can be read here.", { hint: "Add a JPEG, PNG, WebP or AVIF." });
  }
  const large = size && Math.max(size.width, size.height) > MAX_SIDE;
  const helps = size && (large || file.size > SMALL_BYTES);
  photo.sendOriginal = sendOriginal;
  photo.variant = (helps && !sendOriginal) || !accepted ? SHRUNK : "original";
  return photo.variant;
}

/** The bytes of a variant; the original if shrinking fails or gains little. */
async function make(photo, variant) {
  const { file } = photo;
  if (variant === "original") return { blob: file, variant };
  const blob = await shrink(photo).catch(() => null);
  const unsupported = !ACCEPTED.includes(file.type);
  if (blob && (unsupported || blob.size < file.size * MIN_GAIN)) return { blob, variant };
  return { blob: file, variant: (photo.variant = "original") };
}

/** PUT with progress, which fetch lacks. Exactly the signed headers are sent. */
function put({ url, method, headers }, blob, signal, onBytes) {
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
