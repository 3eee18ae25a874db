/** What the ICC profile in a file's header is made of: whether browsers convert its colours as it says. */

import { text } from "../photo/headers.js";

const TABLE = "A2B0"; // the tag of what is more than curves
const CURVES = ["rTRC", "gTRC", "bTRC", "kTRC"];
const MOST_TAGS = 100;
const SAMPLES = 32; // of a curve
const MOST_PACKED = 65_536;
const MOST_INFLATED = 2 ** 20; // the tags and curves come before

/**
 * Whether the profile at this place has tables, or curves that are lists of values and not sRGB's within a level of
 * 255: browsers draw a formula through those. Also if it is broken, cut short, or goes on elsewhere in the file.
 */
export function isOdd(view, at) {
  try {
    for (let tag = at + 132, left = Math.min(view.getUint32(at + 128), MOST_TAGS); left; left--, tag += 12) {
      const name = text(view, tag, 4);
      if (name === TABLE || (CURVES.includes(name) && isOwnList(view, at + view.getUint32(tag + 4)))) return true;
    }
    return false;
  } catch (error) {
    if (error instanceof RangeError) return true;
    throw error;
  }
}

function isOwnList(view, at) {
  const last = view.getUint32(at + 8) - 1;
  if (text(view, at, 4) !== "curv" || last < 1) return false; // a formula, or one exponent
  for (let sample = 0; sample <= SAMPLES; sample++) {
    const place = Math.round((sample / SAMPLES) * last);
    const light = view.getUint16(at + 12 + 2 * place) / 65_535;
    const isNear = light >= srgbLight(place / last - 1 / 255) && light <= srgbLight(place / last + 1 / 255);
    if (!isNear) return true;
  }
  return false;
}

const srgbLight = (value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4);

/** The profile of a PNG's iCCP chunk, whose content begins at `at`; what cannot be read of it is left out. */
export async function inflated(view, at) {
  const name = text(view, at, 80).indexOf("\0");
  const start = view.byteOffset + at + name + 2; // behind the way it is packed
  const packed = new Blob([new Uint8Array(view.buffer, start, Math.min(MOST_PACKED, view.buffer.byteLength - start))]);
  const reader = packed.stream().pipeThrough(new DecompressionStream("deflate")).getReader();
  const parts = [];
  try {
    for (let left = MOST_INFLATED; left > 0; left -= parts.at(-1).length) {
      const { value, done } = await reader.read();
      if (done) break;
      parts.push(value);
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // what is behind the chunk, or damage
  }
  reader.cancel().catch(() => {});
  return new DataView(await new Blob(parts).arrayBuffer());
}
