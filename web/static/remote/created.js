/** Pictures that only the server can make, from the upload that it has; loaded when the first one is asked for. */

import { call, follow, retry } from "../api.js";
import { headerOf } from "../photo/headers.js";
import { TYPES } from "../photo/pictures.js";
import { put, submit } from "../photo/upload.js";
import { isShaped } from "../result/edge.js";
import { fetched, matteOf } from "../result/sources.js";
import { lookParams } from "../state.js";
import { t } from "../words.js";

/** The key under which the renderer makes files of a result that it shows as `key` by the server's pictures: at the largest size there is. */
export async function openForFiles(renderer, item, key, say) {
  const file = await createdPicture(item, {}, "photo-png").catch((error) => (isGone(item, error) ? null : Promise.reject(error)));
  if (!file) {
    say(t("The server no longer has the photo: this file has the size of its preview. Add the photo again for its full size."));
    return key;
  }
  const full = `${key}-full`;
  await renderer.call("open", { key: full, photo: { file } });
  await renderer.call("give", { key: full, job: item.job.id, parts: await matteOf(item) });
  return full;
}

/** Whether neither this browser nor the server has the photo any more. */
const isGone = ({ photo }, error) => !photo.file && !error.isTransient;

/** Whether the server can make the same: it knows nothing of the brush, of edges, of shadows and of places. */
function isKnownToServer({ background, fit, at, edge, shadow }, strokes) {
  const isPlaced = background === "picture" && (fit !== "cover" || at.x !== 0.5 || at.y !== 0.5);
  return !strokes.length && !isShaped(edge) && !shadow.strength && !isPlaced;
}

/** A finished item's cut-out as a file of `kind` that the server writes. */
export async function byServer(item, look, strokes, kind, say) {
  if (!isKnownToServer(look, strokes)) {
    throw new Error(t("only the server can write this file, and it has no brush, edge or shadow. Choose PNG, or undo those"));
  }
  say("The server makes this file; one moment.");
  const ground = look.background === "picture" ? { background: await send(look.picture.file, item.controller.signal) } : {};
  const picture = await createdPicture(item, { ...lookParams(look), ...ground, format: kind }, "cutout", true);
  say(picture.type === TYPES[kind] ? "" : t("Too large for {format}: the server made another format.", { format: kind.toUpperCase() }));
  return picture;
}

/**
 * A picture that the server makes: `output` under the run's and these parameters. If it `isFile`, a person gets it:
 * then it is made of the original, if there is one and the server takes it, and else of what was sent.
 */
export async function createdPicture(item, params, output, isFile = false) {
  const key = JSON.stringify([output, params, isFile]);
  item.blobs ??= {};
  if (item.blobs[key]) return item.blobs[key];
  const request = { model: item.request.model, params: { ...item.request.params, ...params }, output: [output] };
  const { photo } = item;
  const full = isFile && photo.file && photo.variant !== "original" && photo.header.type && { ...photo, upload: null, sendOriginal: true };
  const asSent = (error) => (error?.isTransient ? Promise.reject(error) : ended(item, photo, request));
  const job = await (full ? ended(item, full, request).catch(asSent) : asSent());
  if (job.state !== "done") throw new Error(t("it was stopped"));
  const name = job.result.objects[output] ? output : output.split("-")[0]; // `cutout-png` is the object `cutout`
  item.blobs[key] = await fetched(job, name);
  call("DELETE", `/jobs/${job.id}`).catch(() => {}); // it was made for this file alone, and belongs to no history
  return item.blobs[key];
}

async function ended({ controller: { signal } }, photo, request) {
  const options = { sendOriginal: photo.sendOriginal, signal, onPhase: () => {} };
  return follow(await submit(photo, request, options), () => {}, signal);
}

/** Sends a file as it is, for a parameter that names an upload; resolves with the upload's id. */
async function send(file, signal) {
  const type = (await headerOf(new Uint8Array(await file.arrayBuffer()))).type ?? file.type;
  const slot = () => call("POST", "/uploads", { size: file.size, type, variant: "original" }, signal);
  const { upload } = await retry(slot, signal);
  await put(upload, new Blob([file], { type }), signal, () => {});
  return upload.id;
}
