/** What is written below a picture: labels and notes. */

import { percent } from "../pictures.js";
import { make } from "../state.js";

/** What else there is to know of a result, one sentence each. */
export function drawNotes(root, sentences) {
  root.replaceChildren(
    ...sentences.filter(Boolean).map((sentence) => {
      const note = document.createElement("li");
      note.textContent = sentence;
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
      name.textContent = label;
      share.textContent = percent(score);
      bar.style.setProperty("--share", score);
      return row;
    }),
  );
}
