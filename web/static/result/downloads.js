/** Files of a result: made here where that is possible, else by the server from the upload that it has. */

import { canWrite, TYPES } from "../photo/pictures.js";
import { lookParams } from "../state.js";
import { send } from "../photo/upload.js";
import { isShaped } from "./edge.js";
import { createdPicture, objectOf, openForFiles } from "./sources.js";
import { t } from "../words.js";

/** A finished item's cut-out as a file: `kind` is one of TYPES, or `mask`; `say` gets what to know of it, in words. */
export async function blobOf(renderer, { item, opened, look, strokes }, kind, say) {
  if (kind !== "mask" && !(await canWrite(TYPES[kind]))) return byServer(item, look, strokes, kind, say);
  if (look.background === "blur" && !opened.isMadeHere) return byServer(item, look, strokes, kind, say);
  const key = await openForFiles(renderer, item, opened);
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

/** Whether the server can make the same: it knows nothing of the brush, of edges, of shadows and of places. */
function isKnownToServer({ background, fit, at, edge, shadow }, strokes) {
  const isPlaced = background === "picture" && (fit !== "cover" || at.x !== 0.5 || at.y !== 0.5);
  return !strokes.length && !isShaped(edge) && !shadow.strength && !isPlaced;
}

async function byServer(item, look, strokes, kind, say) {
  if (!isKnownToServer(look, strokes)) {
    throw new Error(t("only the server can write this file, and it has no brush, edge or shadow. Choose PNG, or undo those"));
  }
  say("The server makes this file; one moment.");
  const ground = look.background === "picture" ? { background: await send(look.picture.file, item.controller.signal) } : {};
  const picture = await createdPicture(item, { ...lookParams(look), ...ground, format: kind }, "cutout", true);
  say(picture.type === TYPES[kind] ? "" : t("Too large for {format}: the server made another format.", { format: kind.toUpperCase() }));
  return picture;
}
