/** What a model found, as HTML over or under the photo. */

import { percent } from "./pictures.js";

/** Boxes over a picture of width x height; positions in percent, so that they follow every size. */
export function drawBoxes(root, boxes, colours, { width, height }) {
  const share = (part, whole) => `${(100 * part) / whole}%`;
  root.replaceChildren(
    ...boxes.map(({ box: [x1, y1, x2, y2], label, score }) => {
      const box = document.createElement("div");
      Object.assign(box.style, {
        left: share(x1, width),
        top: share(y1, height),
        width: share(x2 - x1, width),
        height: share(y2 - y1, height),
      });
      box.style.setProperty("--colour", colours.get(label));
      const text = document.createElement("span");
      text.textContent = `${label} ${percent(score)}`;
      box.append(text);
      return box;
    }),
  );
}

/** `2 facemask, 1 no facemask`. */
export function countsOf(boxes, labels) {
  const counts = [...labels].map((label) => `${boxes.filter((one) => one.label === label).length} ${label}`);
  return counts.join(", ") || "Nothing found";
}

/** One bar per label, as long as its score. */
export function drawLabels(root, labels) {
  root.replaceChildren(
    ...labels.map(({ label, score }) => {
      const row = document.createElement("li");
      const [name, bar, share] = ["span", "i", "b"].map((tag) => document.createElement(tag));
      name.textContent = label;
      share.textContent = percent(score);
      bar.style.setProperty("--share", score);
      row.append(name, bar, share);
      return row;
    }),
  );
}
