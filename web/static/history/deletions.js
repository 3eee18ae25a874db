/**
 * Deletes jobs on the server a few seconds after they have left the page, and offers to undo that until then. A page
 * that is closed meanwhile deletes them at once; what a browser that was killed has left behind, the next page deletes.
 */

import { ApiError, call, retry, ROOT } from "../api.js";
import { make } from "../state.js";
import { t, translated } from "../words.js";

const UNDO_MS = 8000;
const TOLD_MS = 6000;
const AT_A_TIME = 4;
const STORED = "pixelmill.deletions"; // in localStorage, as the next page may have to go on

let waiting = []; // {ids, undo, end}
let timer = 0;
let toast = null;

/** Ids of jobs that are no longer shown, though the server may still have them. */
export const leaving = new Set();

/**
 * Delete these jobs soon. `undo()` puts what was removed back on the page; `end()` is called when that is no longer
 * possible. What is removed meanwhile is undone together.
 */
export function deleteLater(ids, { undo, end = () => {} }) {
  waiting.push({ ids, undo, end });
  ids.forEach((id) => leaving.add(id));
  remember();
  clearTimeout(timer);
  timer = setTimeout(commit, UNDO_MS);
  const count = waiting.reduce((sum, part) => sum + Math.max(1, part.ids.length), 0);
  tell(count > 1 ? t("{count} deleted.", { count }) : t("Deleted."), undoAll);
}

function undoAll() {
  clearTimeout(timer);
  const undone = waiting.splice(0).reverse();
  stay(undone.flatMap(({ ids }) => ids));
  tell(t("It is back."), null);
  undone.forEach(({ undo }) => undo());
}

/** The time to undo is over. */
async function commit() {
  const parts = waiting.splice(0);
  tell("", null);
  parts.forEach(({ end }) => end());
  const ids = parts.flatMap((part) => part.ids);
  await deleteNow(ids).catch((error) => {
    stay(ids); // no page deletes later what is back
    parts.reverse().forEach(({ undo }) => undo());
    tell(`${t("That could not be deleted:")} ${error.message} ${error.hint ?? ""}`, null);
  });
}

async function deleteNow(ids) {
  const left = [...ids];
  const work = async () => {
    for (let id = left.shift(); id; id = left.shift()) {
      await retry(() => call("DELETE", `/jobs/${id}`).catch(unlessGone));
      stay([id]);
    }
  };
  const ends = await Promise.allSettled(Array.from({ length: AT_A_TIME }, work));
  const failed = ends.find(({ status }) => status === "rejected");
  if (failed) throw failed.reason;
}

function unlessGone(error) {
  if (!(error instanceof ApiError) || error.status !== 404) throw error;
}

/** Go on with what an earlier page has left. */
export function finish() {
  const ids = JSON.parse(localStorage.getItem(STORED) ?? "[]").filter((id) => !leaving.has(id));
  ids.forEach((id) => leaving.add(id));
  return deleteNow(ids).catch(() => {}); // the next page tries again
}

/** These are not to be deleted any more. */
function stay(ids) {
  ids.forEach((id) => leaving.delete(id));
  remember();
}

function remember() {
  if (leaving.size) localStorage.setItem(STORED, JSON.stringify([...leaving]));
  else localStorage.removeItem(STORED);
}

/** A closing page waits for no answer. */
addEventListener("pagehide", () => {
  const ids = waiting.splice(0).flatMap((part) => part.ids);
  for (const id of ids) fetch(`${ROOT}/api/v1/jobs/${id}`, { method: "DELETE", keepalive: true }).catch(() => {});
});

addEventListener("keydown", (event) => {
  const isUndo = event.key === "z" && (event.ctrlKey || event.metaKey) && !event.shiftKey;
  if (!isUndo || event.defaultPrevented || !waiting.length || event.target.closest("input, textarea, select, .viewer")) return;
  event.preventDefault();
  undoAll();
});

/** Say something at the bottom of the page, with a button that undoes it. */
function tell(sentence, undo) {
  toast ??= document.body.appendChild(translated(make(`<div class="pm-toast" role="status"><p></p><button type="button">Undo</button></div>`)));
  const [text, button] = toast.children;
  text.textContent = sentence;
  toast.classList.toggle("on", Boolean(sentence));
  button.hidden = !undo;
  button.onclick = undo;
  clearTimeout(toast.timer);
  if (sentence && !undo) toast.timer = setTimeout(() => tell("", null), TOLD_MS);
}
