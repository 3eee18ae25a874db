/** Files of a result: made here where that is possible, else by the server from the upload that it has. */

import { canWrite, TYPES } from "../photo/pictures.js";
import { t } from "../words.js";

const remote = () => import("../remote/created.js");

/** A finished item's cut-out as a file: `kind` is one of TYPES, or `mask`; `say` gets what to know of it, in words. */
export async function blobOf(renderer, { item, opened, look, strokes }, kind, say) {
  const isWritable = kind === "mask" || (await canWrite(TYPES[kind]));
  if (!isWritable || (look.background === "blur" && !opened.isMadeHere)) return (await remote()).byServer(item, look, strokes, kind, say);
  const isWhole = opened.isOwn || !opened.hasMatte;
  const key = isWhole ? opened.key : await (await remote()).openForFiles(renderer, item, opened.key, say);
  const { blob, isSmaller } = await renderer.call("file", { key, look, strokes, kind });
  if (isSmaller) say("Too large for this browser: made with at most 2048 pixels a side.");
  return blob;
}

/** A photo with boxes drawn on it as a file of `kind`. */
export async function boxedBlobOf(renderer, { key }, { result, boxes, colours }, kind) {
  const named = boxes.map((box) => ({ ...box, name: t(box.label) }));
  const asked = { key, boxes: named, colours: [...colours], width: result.width, type: TYPES[kind] };
  return (await renderer.call("boxedFile", asked)).blob;
}

/** The name of a result's file. */
export function nameOf({ name, job: { result } }, kind, blob) {
  const what = { mask: "mask", json: "result" }[kind] ?? (result.objects?.alpha ? "cutout" : result.kind);
  const ending = blob.type ? blob.type.split("/")[1] : kind; // the server may have written another format
  return `${name.replace(/\.\w+$/, "")}-${what}.${ending === "jpeg" ? "jpg" : ending}`;
}
