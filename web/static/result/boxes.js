/** Boxes on a photo: their colours, the places of their labels, and the file that a person downloads. */

import { canvasOf } from "../photo/photos.js";
import { percent } from "../numbers.js";
import { crcOf } from "./png.js";

const MOST_STEPS = 8; // heights of a label by which it may be moved away

/** As tasks/imaging/draw.py has them: Okabe and Ito's, which people with any kind of colour vision tell apart. */
const PALETTE = ["#009e73", "#d55e00", "#0072b2", "#f0e442", "#cc79a7", "#56b4e9"];

/** `source` with boxes drawn on it; `scale` = pixels of the source per pixel of the boxes. */
export function boxed(source, boxes, colours, scale) {
  const [canvas, context] = canvasOf(source.width, source.height);
  source.draw(context, source.width, source.height);
  const line = Math.max(2, Math.max(canvas.width, canvas.height) / 400);
  context.lineWidth = line;
  context.font = `600 ${line * 6}px system-ui, sans-serif`;
  context.textBaseline = "bottom";
  const scaled = boxes.map(({ box }) => box.map((edge) => edge * scale));
  const texts = boxes.map(textOf);
  const sizes = texts.map((text) => [context.measureText(text).width + line * 4, line * 9]);
  const places = labelPlaces(scaled, sizes, canvas);
  boxes.forEach(({ label }, i) => {
    const [x1, y1, x2, y2] = scaled[i];
    context.strokeStyle = colours.get(label);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
  });
  boxes.forEach(({ label }, i) => {
    const [[left, top], [wide, high]] = [places[i], sizes[i]];
    context.fillStyle = colours.get(label);
    context.fillRect(left, top, wide, high);
    context.fillStyle = inkOn(colours.get(label));
    context.fillText(texts[i], left + line * 2, top + high - line);
  });
  return canvas;
}

/** `name`: the label in the page's language, if that is known here. */
export const textOf = ({ label, name = label, score }) => `${name} ${percent(score)}`;

/** Label -> colour: the same in every picture, here and on the server. */
export function coloursOf(boxes) {
  const bytes = (label) => new TextEncoder().encode(label);
  return new Map(boxes.map(({ label }) => [label, PALETTE[(~crcOf(bytes(label), ~0) >>> 0) % PALETTE.length]]));
}

/** Black or white, whichever contrasts more with a colour (WCAG 2: relative luminance). */
export function inkOn(colour) {
  const [red, green, blue] = [1, 3, 5].map((at) => (parseInt(colour.slice(at, at + 2), 16) / 255) ** 2.2);
  return 0.2126 * red + 0.7152 * green + 0.0722 * blue > 0.179 ? "#000" : "#fff";
}

/**
 * Where the labels go, as [left, top] each: above their boxes, or else below, or as near as they lie on no other.
 * `sizes`: [width, height] of each label, in the units of the boxes and of the picture of `width` x `height`.
 */
export function labelPlaces(boxes, sizes, { width, height }) {
  const taken = [];
  return boxes.map(([x1, y1, x2, y2], i) => {
    const [across, down] = sizes[i];
    const inside = (left, top) => [Math.max(0, Math.min(width - across, left)), Math.max(0, Math.min(height - down, top))];
    const [near, far] = [y1 - down, y2];
    const wishes = [[x1, near], [x2 - across, near], [x1, far], [x2 - across, far]];
    for (let step = 1; step <= MOST_STEPS; step++) wishes.push([x1, near - step * down], [x1, far + step * down]);
    const free = ([left, top]) => !taken.some(([l, t, w, h]) => left < l + w && l < left + across && top < t + h && t < top + down);
    const places = wishes.map((wish) => inside(...wish));
    const place = places.find(free) ?? places[0];
    taken.push([...place, across, down]);
    return place;
  });
}
