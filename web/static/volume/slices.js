/** The file of a volume's slices and regions (tasks/imaging/volumes/viewer.py), and how a slice of it is drawn. */

import { ApiError, retry } from "../api.js";
import { t } from "../words.js";

const MAGIC = "PXV1";
export const SCALE = 2; // pixels of the canvas for one of a slice, so that patterns can be told apart
/** Colours that people who see few colours can tell apart, and the pattern of each; more regions begin again. */
export const LOOKS = [
  { colour: [255, 176, 0], isOn: (x, y) => (x + y) % 10 < 4, css: "135deg" },
  { colour: [77, 166, 255], isOn: (x, y) => (x - y + 1000) % 10 < 4 && (x + y) % 10 < 7, css: "45deg" },
  { colour: [230, 98, 200], isOn: (x, y) => y % 8 < 3, css: "0deg" },
  { colour: [60, 200, 140], isOn: (x, y) => x % 8 < 3, css: "90deg" },
];
const BETWEEN = 0.35; // strength of the colour between the lines of a pattern

/** {shape, spacing, hu, isHu, levels, labels} of the file at an address. */
export async function load(address) {
  const answer = await retry(() => answered(address));
  const stream = answer.body.pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
  const text = (start, end) => new TextDecoder().decode(bytes.subarray(start, end));
  if (text(0, 4) !== MAGIC) throw new Error(text(0, 4));
  const end = 8 + new DataView(bytes.buffer).getUint32(4, true);
  const { shape, spacing_mm: spacing, hu, is_hu: isHu } = JSON.parse(text(8, end));
  const size = shape[0] * shape[1] * shape[2];
  return { shape, spacing, hu, isHu, levels: bytes.subarray(end, end + size), labels: bytes.subarray(end + size, end + 2 * size) };
}

/** The answer for an address; one of a storage that is busy is worth another try. */
async function answered(address) {
  const answer = await fetch(address).catch(() => {
    throw new ApiError("The server did not answer.");
  });
  const { ok, status } = answer;
  if (!ok) throw new ApiError(t("The server answered {status}.", { status: String(status) }), { status });
  return answer;
}

/** The slice that has most of the regions; the middle one without any. */
export function fullest({ shape: [depth, height, width], labels }) {
  let [best, most] = [Math.floor(depth / 2), 0];
  for (let z = 0; z < depth; z++) {
    let count = 0;
    for (let at = z * height * width; at < (z + 1) * height * width; at++) if (labels[at]) count++;
    if (count > most) [best, most] = [z, count];
  }
  return best;
}

/** ImageData of slice `z` as seen through a window, with the regions (value -> number of a look) over it. */
export function drawn(volume, z, { level, width: range, opacity, looks }) {
  const [, height, width] = volume.shape;
  const grey = volume.hu.map((hu) => Math.max(0, Math.min(255, ((hu - level) / range + 0.5) * 255)));
  const image = new ImageData(width * SCALE, height * SCALE);
  const start = z * height * width;
  for (let y = 0, at = 0; y < height * SCALE; y++) {
    for (let x = 0; x < width * SCALE; x++, at += 4) {
      const voxel = start + Math.floor(y / SCALE) * width + Math.floor(x / SCALE);
      const value = grey[volume.levels[voxel]];
      const look = volume.labels[voxel] && LOOKS[looks.get(volume.labels[voxel]) % LOOKS.length];
      const share = look ? opacity * (look.isOn(x, y) || isEdge(volume, voxel, width) ? 1 : BETWEEN) : 0;
      for (let channel = 0; channel < 3; channel++) {
        image.data[at + channel] = look ? value + (look.colour[channel] - value) * share : value;
      }
      image.data[at + 3] = 255;
    }
  }
  return image;
}

/** Whether a neighbour in the slice is of another region. */
function isEdge({ labels }, voxel, width) {
  const own = labels[voxel];
  return labels[voxel - 1] !== own || labels[voxel + 1] !== own || labels[voxel - width] !== own || labels[voxel + width] !== own;
}

/** Where each region of slice `z` has its middle, in shares of its sides: [value, x, y]. */
export function middles({ shape: [, height, width], labels }, z) {
  const sums = new Map();
  for (let y = 0, at = z * height * width; y < height; y++) {
    for (let x = 0; x < width; x++, at++) {
      if (!labels[at]) continue;
      const sum = sums.get(labels[at]) ?? [0, 0, 0];
      sums.set(labels[at], [sum[0] + 1, sum[1] + x, sum[2] + y]);
    }
  }
  return [...sums].map(([value, [count, x, y]]) => [value, (x / count + 0.5) / width, (y / count + 0.5) / height]);
}
