/** The viewer's elements, and what of them is to be seen. */

import { BRUSH } from "./brush.js";
import { TOOLS } from "./tools.js";

export const MARKUP = `
<div class="stage" tabindex="0" role="group" aria-label="Result">
  <div class="frame">
    <div class="pan">
      <canvas class="before"></canvas>
      <div class="after"><canvas class="ground"></canvas><canvas class="cut"></canvas></div>
      <div class="boxes"></div>
    </div>
    <div class="split" role="slider" tabindex="0" aria-label="Border between before and after"
      aria-valuemin="0" aria-valuemax="100" aria-valuenow="50"><i></i></div>
    <span class="side side-before" aria-hidden="true">Before</span>
    <span class="side side-after" aria-hidden="true">After</span>
    <div class="zoom" role="group" aria-label="Zoom">
      <button type="button" data-act="hold" title="Hold to see the photo as it was">Hold to compare</button>
      <button type="button" data-act="out" aria-label="Zoom out">−</button>
      <button type="button" data-act="fit" title="Fit to the window">100 %</button>
      <button type="button" data-act="in" aria-label="Zoom in">+</button>
    </div>
  </div>
</div>
${BRUSH}
<ol class="labels" aria-label="What the photo shows"></ol>
<div role="status"><ul class="notes"></ul></div>
${TOOLS}
<p class="said" role="status"></p>`;

/** The best guess at a picture's shape while there is none to show. */
export function sizeOf(result, photo) {
  return [result, photo.size].find((size) => size?.width) ?? { width: 3, height: 1 };
}

/** Which buttons have something to give. */
export function possibleActs({ result, before, after }) {
  const isMade = Boolean(after) || (result?.kind === "boxes" && Boolean(before)); // there is a picture to download
  const alpha = result?.objects?.alpha;
  return { mask: alpha, avif: alpha, webp: after, jpeg: after, png: isMade, copy: isMade, hold: before && after };
}

/** Draw a picture into a canvas of its size; null hides it. */
export function show(canvas, picture) {
  canvas.style.visibility = picture ? "" : "hidden";
  if (!picture) return;
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0);
}
