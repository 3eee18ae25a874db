/** A soft shadow below a subject: its matte, blurred and moved down, in black. */

import { canvasOf, fit, Upright } from "../photo/photos.js";
import { blurred } from "./edge.js";

const SIDE = 512; // a shadow is too soft for more
const LEAST_BLUR = 0.004;
const MOST_BLUR = 0.04; // both as shares of the longer side
const MOST_DISTANCE = 0.12; // of the height

/** The shadow of a cut-out as a small black picture, to be drawn at the cut-out's size. */
export function shadowOf(cutout, { softness }) {
  const [width, height] = fit(cutout, SIDE);
  const sigma = (LEAST_BLUR + MOST_BLUR * softness) * Math.max(width, height);
  const alpha = blurred(cutout.alphaAt(width, height), width, sigma);
  const [canvas, context] = canvasOf(width, height, true);
  const pixels = new ImageData(width, height);
  for (let i = 0; i < alpha.length; i++) pixels.data[4 * i + 3] = alpha[i];
  context.putImageData(pixels, 0, 0);
  return new Upright(canvas, 1, false);
}

/** Draw the shadow's part of a cut-out of `width` x `height` that begins at (`left`, `top`). */
export function drawShadow(context, picture, { strength, distance }, { width, height }, left, top) {
  context.globalAlpha = strength;
  picture.draw(context, width, height, -left, -top + distance * MOST_DISTANCE * height);
  context.globalAlpha = 1;
}
