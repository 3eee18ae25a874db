/**
 * The browser's tab tells how far the photos are, by its title and by a ring in its icon. A notification says when a
 * long batch has ended, if the person wants that: they are asked once, in a batch that takes long.
 */

import { ROOT } from "../api.js";
import { percent } from "../numbers.js";
import { isBusy, make, state } from "../state.js";
import { t } from "../words.js";
import { totalsOf } from "./totals.js";

const LONG_MS = 30_000;
const ASKED = "pixelmill.notify";
const NAME = "Pixelmill";
const STEP = 0.05; // of the ring
const AROUND = 2 * Math.PI * 13;

const ring = (share) => `data:image/svg+xml,${encodeURIComponent(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32">
  <circle cx="16" cy="16" r="13" fill="none" stroke="#0f766e55" stroke-width="6"/>
  <circle cx="16" cy="16" r="13" fill="none" stroke="#0f766e" stroke-width="6" stroke-dasharray="${share * AROUND} ${AROUND}" transform="rotate(-90 16 16)"/></svg>`)}`;

/** Follows the photos; `root` is where the question is asked. The answer draws. */
export function tab(root) {
  const icon = document.querySelector("link[rel=icon]");
  const plain = icon.href;
  let round = null; // {start, before, timer}: when the first photo began, and how many had ended before
  const say = (title, href = plain) => {
    document.title = title;
    if (icon.href !== href) icon.href = href;
  };
  const end = (totals) => {
    say(document.hidden ? `✓ ${NAME}` : NAME);
    if (performance.now() - round.start > LONG_MS) notify(totals);
    clearTimeout(round.timer);
    round = null;
    root.querySelector(".ask")?.remove();
  };
  document.addEventListener("visibilitychange", () => round || say(NAME));
  return () => {
    const totals = totalsOf(state.items);
    const ended = totals.count - totals.busy;
    if (!totals.busy) return round && end(totals);
    round ??= { start: performance.now(), before: ended, timer: setTimeout(() => ask(root), LONG_MS) };
    const count = totals.count - round.before;
    const share = Math.max(0, ended - round.before + progressOf(state.items)) / Math.max(1, count);
    const far = count > 1 ? t("{done} of {count}", { done: ended - round.before, count }) : percent(Math.round(share * 100) / 100);
    say(`${far} · ${NAME}`, ring(Math.round(share / STEP) * STEP));
  };
}

/** How many photos the parts make up that are done of those under way. */
const progressOf = (items) => items.filter(isBusy).reduce((sum, { job }) => sum + (job?.progress ?? 0), 0);

/** Ask once whether to notify; only where there are many photos, and a browser that can. */
function ask(root) {
  const { busy, count } = totalsOf(state.items);
  if (!busy || count < 2 || globalThis.Notification?.permission !== "default" || localStorage.getItem(ASKED)) return;
  const line = make(`<p class="ask note">This takes a while. <button type="button" data-answer="yes">Tell me when it is done</button>
    <button type="button" data-answer="no">No, thanks</button></p>`);
  line.onclick = async ({ target }) => {
    const { answer } = target.dataset;
    if (!answer) return;
    localStorage.setItem(ASKED, answer);
    line.remove();
    if (answer === "yes") await Notification.requestPermission();
  };
  root.append(line);
}

/** Whoever looks at the page sees it there. */
function notify({ done, count }) {
  if (!document.hidden || globalThis.Notification?.permission !== "granted") return;
  const note = new Notification(t("{done} of {count} photos are done.", { done, count }), { icon: `${ROOT}/static/icon.svg`, tag: "pixelmill" });
  note.onclick = () => {
    window.focus();
    note.close();
  };
}
