/** Files of a result: made here where that is possible, else by the server from the upload that it has. */

import { canWrite, TYPES } from "../pictures.js";
import { lookParams } from "../state.js";
import { send } from "../upload.js";
import { boxOf, composed, encoded } from "./compose.js";
import { pngOf } from "./png.js";
import { createdPicture, fullCutout, objectOf } from "./sources.js";

const SAFE_SIDE = 2048; // a canvas that every browser can hold

/** A finished item's cut-out as a file: `kind` is one of TYPES, or `mask`; `say` gets what to know of it, in words. */
export async function blobOf(item, look, kind, say) {
  if (kind === "mask") return maskOf(item, look);
  if (!(await canWrite(TYPES[kind]))) return byServer(item, look, kind, say);
  const cutout = await fullCutout(item);
  if (look.background === "blur" && !cutout.blurredGround) return byServer(item, look, kind, say);
  const asked = kind === "jpeg" && !look.background ? { ...look, background: "#ffffff" } : look;
  return madeHere(cutout, asked, TYPES[kind]).catch(() => {
    say(`Too large for this browser: made with at most ${SAFE_SIDE} pixels a side.`);
    return madeHere(cutout.scaled(SAFE_SIDE), asked, TYPES[kind]);
  });
}

async function madeHere(cutout, look, type) {
  return encoded(composed(cutout, look, boxOf(cutout, look)), type);
}

async function maskOf(item, look) {
  const cutout = await fullCutout(item).catch(() => null);
  if (!cutout) return objectOf(item, "alpha");
  return pngOf(composed(cutout, { ...look, background: "" }, boxOf(cutout, look)), 1);
}

async function byServer(item, look, kind, say) {
  say("The server makes this file; one moment.");
  const ground = look.background === "picture" ? { background: await send(look.file, item.controller.signal) } : {};
  const picture = await createdPicture(item, { ...lookParams(look), ...ground, format: kind }, "cutout", true);
  say(picture.type === TYPES[kind] ? "" : `Too large for ${kind.toUpperCase()}: the server made another format.`);
  return picture;
}
