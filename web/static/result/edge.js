/** Makes the edge of a matte harder or softer and moves it. Lengths are shares of the picture's longer side. */

const MOST_SHIFT = 0.008;
const MOST_BLUR = 0.006;
const EDGE_WIDTH = 0.0015; // of an edge that was moved, from clear to solid
const HARDEST = 20; // times the contrast
const LOGIT = 1.702; // the normal distribution's quantile is about ln(p / (1 - p)) / 1.702

/** `shape`: {softness, shift}, each -1 (harder, inwards) to 1 (softer, outwards). */
export const isShaped = ({ softness, shift }) => Boolean(softness || shift);

/** How many rows beyond its own a row of the shaped matte depends on. */
export function reachOf({ softness, shift }, longest) {
  return 3 * boxRadius(Math.abs(shift) * MOST_SHIFT * longest) + 3 * boxRadius(Math.max(0, softness) * MOST_BLUR * longest);
}

/** The matte, one byte per pixel, with its edge as `shape` says; `longest`: pixels of the picture's longer side. */
export function shaped(matte, width, shape, longest) {
  const shift = shape.shift * MOST_SHIFT * longest;
  const moved = shift ? movedBy(matte, width, shift, Math.max(1.5, EDGE_WIDTH * longest)) : matte;
  if (shape.softness > 0) return new Uint8ClampedArray(blurred(moved, width, shape.softness * MOST_BLUR * longest));
  return shape.softness < 0 ? harder(moved, HARDEST ** -shape.softness) : moved;
}

function harder(matte, contrast) {
  const levels = Uint8ClampedArray.from({ length: 256 }, (_, value) => 127.5 + (value - 127.5) * contrast);
  return matte.map((value) => levels[value]);
}

/**
 * The blurred matte tells how far a pixel is from the edge: across a straight edge its values are those of the normal
 * distribution. What is finer than the blur, such as hair, stays when the edge moves outwards.
 */
function movedBy(matte, width, shift, edge) {
  const sigma = Math.abs(shift);
  const near = blurred(matte, width, sigma);
  const to = new Uint8ClampedArray(matte);
  for (let i = 0; i < to.length; i++) {
    const share = near[i] / 255;
    if (share <= 0.001 || share >= 0.999) continue;
    const value = 127.5 + (255 * ((Math.log(share / (1 - share)) * sigma) / LOGIT + shift)) / edge;
    if (shift > 0 ? value > to[i] : value < to[i]) to[i] = value;
  }
  return to;
}

/** Three box blurs, which are about a Gaussian of `sigma` pixels. */
export function blurred(values, width, sigma) {
  const radius = boxRadius(sigma);
  let map = new Float32Array(values);
  if (!radius) return map;
  for (let pass = 0; pass < 3; pass++) map = down(across(map, width, radius), width, radius);
  return map;
}

/** The variance of three boxes of 2 r + 1 pixels is ((2 r + 1)^2 - 1) / 4. */
const boxRadius = (sigma) => (sigma > 0 ? Math.max(1, Math.round((Math.sqrt(4 * sigma * sigma + 1) - 1) / 2)) : 0);

/** A running mean along each row; beyond the border its last value goes on. */
function across(from, width, radius) {
  const to = new Float32Array(from.length);
  const weight = 1 / (2 * radius + 1);
  for (let start = 0; start < from.length; start += width) {
    const last = start + width - 1;
    let sum = from[start] * radius;
    for (let i = 0; i <= radius; i++) sum += from[Math.min(last, start + i)];
    for (let at = start; at <= last; at++) {
      to[at] = sum * weight;
      sum += from[Math.min(last, at + radius + 1)] - from[Math.max(start, at - radius)];
    }
  }
  return to;
}

/** The same along each column. */
function down(from, width, radius) {
  const to = new Float32Array(from.length);
  const weight = 1 / (2 * radius + 1);
  const rows = from.length / width;
  const rowAt = (y) => Math.max(0, Math.min(rows - 1, y)) * width;
  const sums = new Float64Array(width);
  for (let y = -radius; y <= radius; y++) {
    for (let x = 0, at = rowAt(y); x < width; x++, at++) sums[x] += from[at];
  }
  for (let y = 0, at = 0; y < rows; y++) {
    let [enter, leave] = [rowAt(y + radius + 1), rowAt(y - radius)];
    for (let x = 0; x < width; x++, at++) {
      to[at] = sums[x] * weight;
      sums[x] += from[enter++] - from[leave++];
    }
  }
  return to;
}
