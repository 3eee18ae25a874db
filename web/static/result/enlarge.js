/**
 * Makes a matte as large as the photo, along the photo's edges. As tasks/imaging/enlarge.py does: around soft edges
 * the matte is a linear function of the small photo's colours (guided filter: He, Sun, Tang, PAMI 2013), which is
 * evaluated on the large photo's.
 */

const RADIUS = 2; // of the filter, in pixels of the small photo
const EPSILON = 1e-4; // smallest variance of the guide that counts as an edge
const HAZE = 0.02; // what the filter leaves beside an edge on a flat side
const PAIRS = [[0, 0], [0, 1], [0, 2], [1, 1], [1, 2], [2, 2]]; // of colours: RR, RG, RB, GG, GB, BB
const TILE = 128; // columns of the small picture that are computed at once
const PAD = 2 * RADIUS + 2; // rows above and below that a strip depends on

/** Of each place along one side of a large picture: the samples of a small one before and behind it, the second's share. */
export function between(large, small, from = 0, count = large) {
  const spans = { before: new Int32Array(count), behind: new Int32Array(count), share: new Float32Array(count) };
  for (let i = 0; i < count; i++) {
    const at = Math.min(small - 1, Math.max(0, ((from + i + 0.5) * small) / large - 0.5));
    spans.before[i] = Math.floor(at);
    spans.behind[i] = Math.min(spans.before[i] + 1, small - 1);
    spans.share[i] = at - spans.before[i];
  }
  return spans;
}

/** `small`: {width, height, alpha, guide}: one byte of alpha and four of RGBX per pixel. */
export class Enlarger {
  constructor(small, width, height) {
    Object.assign(this, { small, width, height, columns: between(width, small.width) });
  }

  /** The matte of the rows from `top` on of the large photo; `photo`: those rows as RGBX. */
  strip(top, photo) {
    const { width, small } = this;
    const count = photo.length / 4 / width;
    const window = this.window(top, count);
    const rows = between(this.height, small.height, top, count);
    const matte = new Uint8Array(width * count);
    for (let row = 0; row < count; row++) {
      const line = (map) => mixedLine(map, rows, row, window);
      const [start, alpha] = [row * width, this.stretched(line(window.alpha))];
      matte.set(alpha, start);
      if (window.isSoft) this.refine(matte.subarray(start), photo.subarray(4 * start), line, window);
    }
    return matte;
  }

  /** Let one row of the matte follow the photo's colours where it is soft. */
  refine(matte, photo, line, { soft, slopes: [red, green, blue], offset }) {
    const softLine = line(soft);
    if (!softLine.some(Boolean)) return;
    const [r, g, b, base] = [line(red), line(green), line(blue), line(offset)];
    const { before, behind, share } = this.columns;
    for (let x = 0, at = 0; x < this.width; x++, at += 4) {
      const [left, right, across] = [before[x], behind[x], share[x]];
      const here = (values) => values[left] + (values[right] - values[left]) * across;
      if (here(softLine) <= 127 / 255) continue;
      const fine = here(base) + (here(r) * photo[at] + here(g) * photo[at + 1] + here(b) * photo[at + 2]) / 255;
      matte[x] = Math.max(0, Math.min(255, ((fine - HAZE) / (1 - 2 * HAZE)) * 255 + 0.5));
    }
  }

  stretched(line) {
    const { before, behind, share } = this.columns;
    const wide = new Uint8Array(this.width);
    for (let x = 0; x < wide.length; x++) {
      wide[x] = Math.round(line[before[x]] + (line[behind[x]] - line[before[x]]) * share[x]);
    }
    return wide;
  }

  /** The part of the small pictures on which `count` rows depend, with the filter's maps where there is a soft edge. */
  window(top, count) {
    const { width, height, alpha, guide } = this.small;
    const scale = height / this.height;
    const first = Math.max(0, Math.floor(top * scale) - PAD);
    const last = Math.min(height, Math.ceil((top + count) * scale) + PAD);
    const [from, to] = [first * width, last * width];
    const part = { first, width, height: last - first, alpha: alpha.subarray(from, to), guide: guide.subarray(4 * from, 4 * to) };
    const soft = softPixels(part);
    return soft ? { ...part, isSoft: true, soft, ...guidedWhereSoft(part, soft) } : part;
  }
}

/** The row of a window's map that lies at row `row` of `rows` of the large picture. */
function mixedLine(map, { before, behind, share }, row, { first, width }) {
  const [above, below, down] = [(before[row] - first) * width, (behind[row] - first) * width, share[row]];
  const line = new Float32Array(width);
  for (let x = 0; x < width; x++) line[x] = map[above + x] + (map[below + x] - map[above + x]) * down;
  return line;
}

/** A map of `size` values, each made from its place. */
function made(size, valueAt) {
  const map = new Float32Array(size);
  for (let i = 0; i < size; i++) map[i] = valueAt(i);
  return map;
}

/** 1 near pixels that are neither 0 nor 255, or where both meet; null where there are none. */
function softPixels({ width, height, alpha }) {
  const most = greatest(alpha, width, height);
  const clear = greatest(alpha.map((value) => 255 - value), width, height);
  const soft = made(alpha.length, (i) => (most[i] > 0 && clear[i] > 0 && most[i] > 255 - clear[i] ? 1 : 0));
  return soft.includes(1) ? soft : null;
}

/** The greatest value in the 5 x 5 pixels around each. */
export function greatest(values, width, height) {
  return greatestAlong(greatestAlong(values, 1, width, height, width), width, height, width, 1);
}

/** Along `lines` lines of `length` values; neighbours are `step` apart, lines `stride`. */
function greatestAlong(values, step, length, lines, stride) {
  const to = new Uint8Array(values.length);
  const line = new Uint8Array(length + 2 * RADIUS);
  for (let start = 0, count = 0; count < lines; count++, start += stride) {
    for (let i = 0, at = start; i < length; i++, at += step) line[i + RADIUS] = values[at];
    for (let i = 0, at = start; i < length; i++, at += step) {
      let value = line[i];
      for (let k = i + 1; k <= i + 2 * RADIUS; k++) if (line[k] > value) value = line[k];
      to[at] = value;
    }
  }
  return to;
}

/** What `guided` gives, only in tiles with something soft in them or beside them: elsewhere 0, which nobody reads. */
function guidedWhereSoft(part, soft) {
  const { width, height } = part;
  const maps = [0, 1, 2, 3].map(() => new Float32Array(width * height));
  for (let left = 0; left < width; left += TILE) {
    const right = Math.min(width, left + TILE);
    if (!columns(soft, width, Math.max(0, left - 1), Math.min(width, right + 1)).includes(1)) continue;
    const [from, to] = [Math.max(0, left - PAD), Math.min(width, right + PAD)];
    const [alpha, guide] = [columns(part.alpha, width, from, to), columns(part.guide, 4 * width, 4 * from, 4 * to)];
    const fitted = guided({ width: to - from, height, alpha, guide });
    [...fitted.slopes, fitted.offset].forEach((map, i) => {
      const inner = columns(map, to - from, left - from, right - from);
      for (let y = 0; y < height; y++) maps[i].set(inner.subarray(y * (right - left), (y + 1) * (right - left)), y * width + left);
    });
  }
  return { slopes: maps.slice(0, 3), offset: maps[3] };
}

/** The columns `from`..`to` of a map. */
function columns(map, width, from, to) {
  const height = map.length / width;
  const part = new map.constructor((to - from) * height);
  for (let y = 0; y < height; y++) part.set(map.subarray(y * width + from, y * width + to), y * (to - from));
  return part;
}

/** Per pixel {slopes: 3 maps, offset} of matte = slopes . colour + offset, already averaged. */
function guided({ width, height, alpha, guide }) {
  const size = width * height;
  const mean = (map) => boxMean(map, width, height);
  const colours = [0, 1, 2].map((c) => made(size, (i) => guide[4 * i + c] / 255));
  const matte = made(size, (i) => alpha[i] / 255);
  const [means, meanMatte] = [colours.map(mean), mean(matte)];
  /** E(ab) - E(a) E(b) of two maps. */
  const related = (a, b, meanA, meanB, more = 0) => {
    const product = mean(made(size, (i) => a[i] * b[i]));
    return made(size, (i) => product[i] - meanA[i] * meanB[i] + more);
  };
  const covariance = colours.map((map, c) => related(map, matte, means[c], meanMatte));
  const variance = ([i, j]) => related(colours[i], colours[j], means[i], means[j], i === j ? EPSILON : 0);
  const slopes = solved(PAIRS.map(variance), covariance);
  const shown = (i) => slopes[0][i] * means[0][i] + slopes[1][i] * means[1][i] + slopes[2][i] * means[2][i];
  return { slopes: slopes.map(mean), offset: mean(made(size, (i) => meanMatte[i] - shown(i))) };
}

/** Sigma^-1 . covariance per pixel, by the adjugate of the symmetric 3 x 3 matrix. */
function solved([RR, RG, RB, GG, GB, BB], [red, green, blue]) {
  const slopes = [0, 1, 2].map(() => new Float32Array(red.length));
  for (let i = 0; i < red.length; i++) {
    const [rr, rg, rb, gg, gb, bb] = [RR[i], RG[i], RB[i], GG[i], GB[i], BB[i]];
    const [crr, crg, crb] = [gg * bb - gb * gb, gb * rb - rg * bb, rg * gb - gg * rb];
    const [cgg, cgb, cbb] = [rr * bb - rb * rb, rb * rg - rr * gb, rr * gg - rg * rg];
    const determinant = rr * crr + rg * crg + rb * crb;
    slopes[0][i] = (crr * red[i] + crg * green[i] + crb * blue[i]) / determinant;
    slopes[1][i] = (crg * red[i] + cgg * green[i] + cgb * blue[i]) / determinant;
    slopes[2][i] = (crb * red[i] + cgb * green[i] + cbb * blue[i]) / determinant;
  }
  return slopes;
}

/** The mean over the 5 x 5 pixels around each, mirrored at the border. */
function boxMean(map, width, height) {
  return meanAlong(meanAlong(map, 1, width, height, width), width, height, width, 1);
}

/** Along `lines` lines of `length` values; neighbours are `step` apart, lines `stride`. */
function meanAlong(map, step, length, lines, stride) {
  const means = new Float32Array(map.length);
  const line = new Float32Array(length + 2 * RADIUS);
  const sources = Int32Array.from(line, (_, i) => mirrored(i - RADIUS, length) * step);
  for (let start = 0, count = 0; count < lines; count++, start += stride) {
    for (let i = 0; i < line.length; i++) line[i] = map[start + sources[i]];
    for (let i = 0, to = start; i < length; i++, to += step) {
      means[to] = (line[i] + line[i + 1] + line[i + 2] + line[i + 3] + line[i + 4]) / (2 * RADIUS + 1);
    }
  }
  return means;
}

function mirrored(i, length) {
  const at = i < 0 ? -1 - i : i;
  return at < length ? at : Math.max(0, 2 * length - 1 - at);
}
