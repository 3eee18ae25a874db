/** Brings a photo to S3: hash, ask, shrink where it helps, PUT. No image byte goes to the web process. */

import { Trouble, call, patiently } from "./api.js";
import { bitmapOf, encoded, fitted } from "./pictures.js";

const LONGEST_SIDE = 2048;
const SHRUNK = "jpeg-2048";
const SMALL_BYTES = 1_000_000;
const QUALITY = 0.9;
const WORTH_IT = 0.8;
const ACCEPTED = ["image/jpeg", "image/png", "image/webp", "image/avif"];

/** SHA-256 as hex, or null outside a secure context (plain http on a LAN): then no photo is recognised. */
export async function sha256(file) {
  if (!globalThis.crypto?.subtle) return null;
  const digest = await crypto.subtle.digest("SHA-256", await file.arrayBuffer());
  return [...new Uint8Array(digest)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Width and height of the upright picture from its header, or null if this browser cannot read it. */
export async function measure(file) {
  const image = new Image();
  image.src = URL.createObjectURL(file);
  const read = new Promise((resolve) => {
    image.onload = () => resolve({ width: image.naturalWidth, height: image.naturalHeight });
    image.onerror = () => resolve(null);
  });
  return read.finally(() => URL.revokeObjectURL(image.src));
}

/** The photo upright and on white, at most LONGEST_SIDE a side, as a JPEG. */
async function shrink(photo) {
  return encoded(fitted(await bitmapOf(photo), LONGEST_SIDE, "#fff"), "image/jpeg", QUALITY);
}

/**
 * The job for `photo` under `request` ({model, params}). The photo is sent only if the server lacks it.
 * What is learnt is kept in `photo` (sha256, size, variant, upload), so that a second run sends nothing.
 * `tell(phase, details)` reports hashing, shrinking, uploading {fraction, total}, waiting {seconds, why}.
 */
export async function submit(photo, request, { sendOriginal, signal, tell }) {
  const onWait = (seconds, why) => tell("waiting", { seconds, why });
  const post = (path, body) => patiently(() => call("POST", path, body, signal), signal, onWait);

  /** A job, if the server has this variant; else where to PUT `blob` (null: not made yet). */
  const ask = async (variant, blob) => {
    const about = blob ? { size: blob.size, type: blob.type } : {};
    if (!photo.sha256) return blob && (await post("/uploads", { ...about, variant })).upload;
    try {
      return { job: await post("/jobs", { sha256: photo.sha256, variant, ...about, ...request }) };
    } catch (trouble) {
      if (trouble.code !== "upload_needed") throw trouble;
      return blob && trouble.body.upload;
    }
  };

  if (photo.upload && photo.sendOriginal === sendOriginal) {
    const known = await post("/jobs", { upload: photo.upload, ...request }).catch(unless404);
    if (known) return known;
  }
  const wanted = await choose(photo, sendOriginal, tell);
  const making = make(photo, wanted);
  let place = await ask(wanted, wanted === "original" ? photo.file : null);
  if (place?.job) return place.job;
  if (!photo.file) throw new Trouble("This photo is no longer on the server.", { hint: "Add it again." });
  if (wanted !== "original") tell("shrinking");
  const { blob, variant } = await making;
  place ??= await ask(variant, blob);
  if (place.job) return place.job;

  const onBytes = (sent) => tell("uploading", { fraction: sent / blob.size, total: blob.size });
  onBytes(0);
  const send = async () => {
    place ??= await ask(variant, blob);
    if (place.job) return;
    try {
      await put(place, blob, signal, onBytes);
    } catch (trouble) {
      if (trouble.status === 0) place = null; // a refused or broken PUT gets a fresh address
      throw trouble;
    }
  };
  await patiently(send, signal, onWait);
  if (place.job) return place.job;
  Object.assign(photo, { upload: place.id, sent: blob.size });
  return post("/jobs", { upload: photo.upload, ...request });
}

function unless404(trouble) {
  if (trouble.status !== 404) throw trouble;
}

/** Which variant to ask for: hashes and measures the photo the first time. */
async function choose(photo, sendOriginal, tell) {
  if (!photo.file) return photo.variant;
  if (photo.sha256 === undefined) {
    tell("hashing");
    [photo.sha256, photo.size] = await Promise.all([sha256(photo.file), measure(photo.file)]);
  }
  const { size, file } = photo;
  const accepted = ACCEPTED.includes(file.type);
  if (!size && !accepted) {
    throw new Trouble("This file is not a photo that can be read here.", { hint: "Add a JPEG, PNG, WebP or AVIF." });
  }
  const large = size && Math.max(size.width, size.height) > LONGEST_SIDE;
  const helps = size && (large || file.size > SMALL_BYTES);
  photo.sendOriginal = sendOriginal;
  photo.variant = (helps && !sendOriginal) || !accepted ? SHRUNK : "original";
  return photo.variant;
}

/** The bytes of a variant; the original when shrinking fails or gains little. */
async function make(photo, variant) {
  const { file } = photo;
  if (variant === "original") return { blob: file, variant };
  const blob = await shrink(photo).catch(() => null);
  const foreign = !ACCEPTED.includes(file.type);
  if (blob && (foreign || blob.size < file.size * WORTH_IT)) return { blob, variant };
  return { blob: file, variant: (photo.variant = "original") };
}

/** PUT with progress (fetch has none). Exactly the signed headers are sent. */
function put({ url, method, headers }, blob, signal, onBytes) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    const fail = (status) =>
      reject(new Trouble("The photo could not be sent.", { hint: "Check the connection, then try again.", status }));
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
