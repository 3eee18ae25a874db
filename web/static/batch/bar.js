/** The bar over many photos: how far they are, and what can be done with all of them. */

import { run, stop } from "../items.js";
import { duration } from "../progress.js";
import { isBusy, make, state } from "../state.js";
import { t } from "../words.js";
import { canRetry, Pace, totalsOf } from "./totals.js";

const MARKUP = `<div class="batch" hidden>
  <p><b></b> <span></span></p>
  <progress aria-label="All photos" max="1" value="0"></progress>
  <div>
    <button type="button" data-all="stop">Cancel all</button>
    <button type="button" data-all="retry"></button>
    <label><select aria-label="Format of all files"><option value="png">PNG</option><option value="webp">WebP</option><option value="jpeg">JPEG</option></select></label>
    <button type="button" data-all="zip" class="primary">Download all</button>
  </div>
  <p class="note" role="status"></p>
</div>`;

/** Puts the bar into `root`; the answer draws it anew. */
export function batchBar(root) {
  const bar = make(MARKUP);
  root.append(bar);
  const find = (selector) => bar.querySelector(selector);
  const pace = new Pace();
  const zip = zipButton(find);
  const acts = {
    stop: () => state.items.filter((item) => isBusy(item) && item.phase !== "cancelling").forEach(stop),
    retry: () => state.items.filter(canRetry).forEach(run),
    zip: zip.press,
  };
  bar.addEventListener("click", ({ target }) => acts[target.closest("[data-all]")?.dataset.all]?.());
  const buttons = [...bar.querySelectorAll("[data-all]")];
  return () => {
    const totals = totalsOf(state.items);
    const focused = buttons.find((button) => button === document.activeElement);
    bar.hidden = totals.count < 2;
    if (bar.hidden) return;
    find("b").textContent = t("{done} of {count} done", totals);
    const seconds = pace.secondsLeft(totals);
    state.pace = seconds && seconds / totals.busy;
    find("span").textContent = restOf(totals, seconds);
    find("progress").value = (totals.count - totals.busy) / totals.count;
    find("progress").hidden = !totals.busy;
    find("[data-all=stop]").hidden = !totals.busy;
    find("[data-all=retry]").hidden = !totals.retriable || totals.busy > 0;
    find("[data-all=retry]").textContent = t("Try {count} again", { count: totals.retriable });
    zip.draw(totals);
    if (focused?.hidden) buttons.find((button) => !button.hidden).focus(); // the one that was pressed is gone
  };
}

function restOf({ failed, cancelled }, seconds) {
  const parts = [
    failed && t("{count} failed", { count: failed }),
    cancelled && t("{count} cancelled", { count: cancelled }),
    seconds !== null && t("about {time} left", { time: duration(Math.max(1, Math.round(seconds)) * 1000) }),
  ];
  return parts.filter(Boolean).map((part) => `· ${part}`).join(" ");
}

/** The button that downloads all, and stops that while it goes on. */
function zipButton(find) {
  let controller = null;
  const [button, note] = [find("[data-all=zip]"), find(".note")];
  const say = (sentence) => (note.textContent = sentence);
  const start = async () => {
    const items = state.items.filter(({ phase }) => phase === "done");
    controller = new AbortController();
    draw();
    try {
      const { downloadAll } = await import("./archive.js");
      const onProgress = (done, count) => say(t("{done} of {count} files are in the archive.", { done, count }));
      const failed = await downloadAll(items, find("select").value, { signal: controller.signal, onProgress });
      say(failed.length ? t("These could not be made: {names}.", { names: failed.join(", ") }) : t("The archive is complete."));
    } catch (error) {
      say(controller.signal.aborted ? t("Stopped.") : t("That failed: {reason}", { reason: error.message }));
    }
    controller = null;
    draw();
  };
  const draw = (totals = totalsOf(state.items)) => {
    button.disabled = !totals.done;
    button.textContent = controller ? t("Stop") : t("Download all");
  };
  return { draw, press: () => (controller ? controller.abort() : start()) };
}
