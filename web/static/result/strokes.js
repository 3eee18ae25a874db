/**
 * Strokes of the brush that mends a matte, kept as lines so that they can be drawn at any size. A stroke is
 * {mode: "keep" or "remove", size, points: [x, y, x, y, ...]}: points as shares of the picture's width and height,
 * the size as a share of its longer side.
 */

import { canvasOf } from "../photo/photos.js";

/** Widths of the lines that make a stroke with a soft rim, and how much each covers: 1/4, 1/2, 3/4, all of it. */
const RINGS = [
  [1, 1 / 4],
  [0.95, 1 / 3],
  [0.9, 1 / 2],
  [0.85, 1],
];

/** What the strokes change in `count` rows from `top` on: RGBA with white for keep and black for remove; null: nothing. */
export function strokeRows(strokes, width, height, top, count) {
  const touching = strokes.filter((stroke) => touches(stroke, width, height, top, count));
  if (!touching.length) return null;
  const [, context] = canvasOf(width, count, true);
  context.translate(0, -top);
  for (const stroke of touching) drawStroke(context, stroke, width, height, stroke.mode === "keep" ? "#fff" : "#000");
  return context.getImageData(0, 0, width, count).data;
}

function touches({ points, size }, width, height, top, count) {
  const reach = (size * Math.max(width, height)) / 2 + 1;
  const ys = points.filter((_, i) => i % 2).map((y) => y * height);
  return ys.some((y, i) => {
    const before = ys[Math.max(0, i - 1)];
    return Math.max(y, before) + reach >= top && Math.min(y, before) - reach <= top + count;
  });
}

function drawStroke(context, { points, size }, width, height, style) {
  context.lineCap = context.lineJoin = "round";
  context.strokeStyle = style;
  const line = new Path2D();
  line.moveTo(points[0] * width, points[1] * height);
  for (let i = 0; i < points.length; i += 2) line.lineTo(points[i] * width + 0.01, points[i + 1] * height);
  for (const [share, cover] of RINGS) {
    context.globalAlpha = cover;
    context.lineWidth = share * size * Math.max(width, height);
    context.stroke(line);
  }
  context.globalAlpha = 1;
}

/** Lay the strokes' rows over a matte's, in place. */
export function mend(matte, strokes) {
  for (let i = 0, at = 0; i < matte.length; i++, at += 4) {
    const cover = strokes[at + 3];
    if (cover) matte[i] = Math.round((matte[i] * (255 - cover) + strokes[at] * cover) / 255);
  }
}
