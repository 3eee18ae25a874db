/** Boxes on a photo: on the screen, and in the file that a person downloads. */

import { canvasOf } from "../photos.js";
import { percent } from "../pictures.js";
import { make } from "../state.js";

// White text on each has a contrast of at least 4.5 : 1.
const PALETTE = ["#0b7468", "#b93a22", "#6a45c9", "#8a5c00", "#1f66b0", "#a03279"];

/** `source` with boxes drawn on it; `scale` = pixels of the source per pixel of the boxes. */
export function boxed(source, boxes, colours, scale) {
  const [canvas, context] = canvasOf(source.width, source.height);
  source.draw(context, source.width, source.height);
  const line = Math.max(2, Math.max(canvas.width, canvas.height) / 400);
  context.lineWidth = line;
  context.font = `600 ${line * 6}px system-ui, sans-serif`;
  context.textBaseline = "bottom";
  for (const { box, label, score } of boxes) {
    const [x1, y1, x2, y2] = box.map((edge) => edge * scale);
    const text = `${label} ${percent(score)}`;
    context.fillStyle = context.strokeStyle = colours.get(label);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const top = Math.max(y1, line * 9);
    const wide = context.measureText(text).width + line * 4;
    const left = Math.max(0, Math.min(x1 - line / 2, canvas.width - wide));
    context.fillRect(left, top - line * 9, wide, line * 9);
    context.fillStyle = "#fff";
    context.fillText(text, left + line * 2, top - line);
  }
  return canvas;
}

/** Label -> colour, the same for the same set of labels. */
export function coloursOf(boxes) {
  const labels = [...new Set(boxes.map(({ label }) => label))].sort();
  return new Map(labels.map((label, index) => [label, PALETTE[index % PALETTE.length]]));
}

/** Boxes over a picture of width x height; positions in percent, so that they scale with it. */
export function drawBoxes(root, boxes, colours, { width, height }) {
  const share = (part, whole) => `${(100 * part) / whole}%`;
  root.replaceChildren(
    ...boxes.map(({ box: [x1, y1, x2, y2], label, score }) => {
      const box = make("<div><span></span></div>");
      Object.assign(box.style, {
        left: share(x1, width),
        top: share(y1, height),
        width: share(x2 - x1, width),
        height: share(y2 - y1, height),
      });
      box.style.setProperty("--colour", colours.get(label));
      // The label has to stay inside the photo, since the rest is clipped.
      box.classList.toggle("end", x1 + x2 > width);
      box.classList.toggle("under", y1 < height / 12);
      box.firstChild.textContent = `${label} ${percent(score)}`;
      return box;
    }),
  );
}

/** `2 facemask, 1 no facemask`. */
export function countsOf(boxes, labels) {
  const counts = [...labels].map((label) => `${boxes.filter((box) => box.label === label).length} ${label}`);
  return counts.join(", ") || "Nothing found";
}
