/** The ground of a photo, blurred: where the subject was, it continues. As tasks/imaging/ground.py makes it. */

import { canvasOf, fit, Upright } from "../photo/photos.js";

const SIDE = 512;
const SIGMA = 10;
const RADIUS = 4 * SIGMA; // cv2.GaussianBlur's for floats
const LEAST_WEIGHT = 1 / 512;

/** `source`: the photo; `alphaAt(width, height)` gives the subject's alpha, one byte per pixel. */
export function blurredGround(source, alphaAt) {
  const [width, height] = fit(source, SIDE);
  const [canvas, context] = canvasOf(width, height, true);
  context.fillStyle = "#fff"; // below what is transparent in the upload
  context.fillRect(0, 0, width, height);
  source.draw(context, width, height);
  const picture = context.getImageData(0, 0, width, height);
  const weight = Float32Array.from(alphaAt(width, height), (alpha) => 1 - alpha / 255);
  const total = smoothed(weight, width, height);
  const sum = weight.reduce((whole, share) => whole + share, 0);
  for (let channel = 0; channel < 3; channel++) {
    const colours = weight.map((share, i) => share * picture.data[4 * i + channel]);
    const far = colours.reduce((whole, value) => whole + value, 0) / Math.max(sum, 1); // deep inside a large subject
    smoothed(colours, width, height).forEach((near, i) => {
      picture.data[4 * i + channel] = (near + LEAST_WEIGHT * far) / (total[i] + LEAST_WEIGHT);
    });
  }
  context.putImageData(picture, 0, 0);
  return new Upright(canvas);
}

/** A Gaussian along the rows, then along the columns. */
function smoothed(values, width, height) {
  return along(along(values, width, height, width, 1), height, width, 1, width);
}

/** Smooth `lines` lines of `length` values; neighbours are `step` apart, lines `stride`; mirrored at both ends. */
function along(values, length, lines, stride, step) {
  const smooth = new Float32Array(values.length);
  const line = new Float32Array(length + 2 * RADIUS);
  for (let start = 0, count = 0; count < lines; count++, start += stride) {
    for (let i = -RADIUS; i < length + RADIUS; i++) line[i + RADIUS] = values[start + mirrored(i, length) * step];
    for (let i = 0; i < length; i++) {
      let sum = 0;
      for (let k = 0; k < KERNEL.length; k++) sum += KERNEL[k] * line[i + k];
      smooth[start + i * step] = sum;
    }
  }
  return smooth;
}

function mirrored(i, length) {
  const period = 2 * (length - 1) || 1;
  const at = Math.abs(i) % period;
  return at < length ? at : period - at;
}

const KERNEL = (() => {
  const kernel = Float64Array.from({ length: 2 * RADIUS + 1 }, (_, i) => Math.exp(-((i - RADIUS) ** 2) / (2 * SIGMA ** 2)));
  const sum = kernel.reduce((whole, value) => whole + value, 0);
  return kernel.map((value) => value / sum);
})();
