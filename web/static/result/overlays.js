/** What is drawn on a picture and written below it: boxes, labels, notes. */

import { percent } from "../numbers.js";
import { make } from "../state.js";
import { inkOn, labelPlaces, textOf } from "./boxes.js";
import { t } from "../words.js";

/**
 * Boxes over a picture of width x height; positions in percent, so that they scale with it. `zoom`: how much larger
 * the picture is shown than it fits, as labels do not grow with it.
 */
export function drawBoxes(root, boxes, colours, { width, height }, zoom) {
  const share = (part, whole) => `${(100 * part) / whole}%`;
  const frames = boxes.map(({ box: [x1, y1, x2, y2], label }) => {
    const frame = make("<div></div>");
    Object.assign(frame.style, {
      left: share(x1, width),
      top: share(y1, height),
      width: share(x2 - x1, width),
      height: share(y2 - y1, height),
    });
    frame.style.setProperty("--colour", colours.get(label));
    return frame;
  });
  const labels = boxes.map((box) => {
    const label = make("<span></span>");
    label.textContent = textOf({ ...box, name: t(box.label) });
    label.style.setProperty("--colour", colours.get(box.label));
    label.style.setProperty("--ink", inkOn(colours.get(box.label)));
    return label;
  });
  root.replaceChildren(...frames, ...labels);
  placeLabels(root, labels, boxes, { width, height }, zoom);
}

function placeLabels(root, labels, boxes, picture, zoom) {
  const unit = picture.width / (root.clientWidth * zoom || 1); // pixels of the picture per pixel of the screen
  const sizes = labels.map((label) => [label.offsetWidth * unit, label.offsetHeight * unit]);
  const places = labelPlaces(boxes.map(({ box }) => box), sizes, picture);
  places.forEach(([left, top], i) => {
    labels[i].style.left = `${(100 * left) / picture.width}%`;
    labels[i].style.top = `${(100 * top) / picture.height}%`;
  });
}

/** What else there is to know of a result, one sentence each. */
export function drawNotes(root, sentences) {
  root.replaceChildren(
    ...sentences.filter(Boolean).map((sentence) => {
      const note = document.createElement("li");
      note.textContent = t(sentence);
      return note;
    }),
  );
}

/** One bar per label; its length is the score. */
export function drawLabels(root, labels) {
  root.replaceChildren(
    ...labels.map(({ label, score }) => {
      const row = make("<li><span></span><i></i><b></b></li>");
      const [name, bar, share] = row.children;
      name.textContent = t(label);
      share.textContent = percent(score);
      bar.style.setProperty("--share", score);
      return row;
    }),
  );
}

/** `2 facemask, 1 no facemask`. */
export function countsOf(boxes, labels) {
  const counts = [...labels].map((label) => t("{count} {label}", { count: boxes.filter((box) => box.label === label).length, label: t(label) }));
  return counts.join(t(", ")) || t("Nothing found");
}

/** How sure the network was of a cut-out; empty where that is not known. */
export const certaintyOf = (result) => (result?.data?.confidence ? t("Certainty {share}", { share: percent(result.data.confidence) }) : "");
