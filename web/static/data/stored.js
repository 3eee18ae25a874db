/**
 * What survives a reload of the tab: jobs, strokes of the brush, small copies of photos that are not kept. A photo that
 * the server does not have yet does not survive, so the browser asks before it leaves the page.
 */

import { listModels } from "../api.js";
import { adopt, learnOwner, STORED } from "../items.js";
import { forgetOriginal } from "../photo.js";
import { changed, isBusy, state } from "../state.js";

const STORE_MS = 300;

let [storing, owner] = [];
/** Store the items of `user` soon: once for all that changes meanwhile. */
export function store(user) {
  owner = user;
  storing ??= setTimeout(storeNow, STORE_MS);
}

addEventListener("pagehide", () => storing && storeNow());
addEventListener("beforeunload", (event) => state.items.some((item) => isBusy(item) && !item.job) && event.preventDefault());

function storeNow() {
  storing = clearTimeout(storing);
  const kept = state.items
    .filter((item) => item.job)
    .map(({ name, thumb, request, strokes, job, photo: { sha256, size, variant, upload, sendOriginal, stored }, isBeside }) => ({
      owner,
      name,
      isBeside,
      thumb: stored ? null : thumb,
      request,
      strokes,
      job: { id: job.id, state: "queued" },
      photo: { sha256, size, variant, upload, sendOriginal, stored },
    }));
  while (kept.length && !written(kept)) makeRoom(kept);
  if (!kept.length) sessionStorage.removeItem(STORED);
}

/** The tab's storage is full: what is left out first are the small copies, then the oldest items. */
function makeRoom(kept) {
  if (kept.some(({ thumb }) => thumb)) kept.forEach((item) => (item.thumb = null));
  else kept.splice(0, Math.ceil(kept.length / 4));
}

function written(kept) {
  try {
    sessionStorage.setItem(STORED, JSON.stringify(kept));
    return true;
  } catch {
    return false;
  }
}

/** After a reload: the jobs of this tab, with their photos where those are still kept, else with small copies of them. */
export async function restore() {
  const items = stored();
  if (!(await areOurs(items))) return;
  items.forEach(adopt);
  state.current = state.items.at(-1) ?? null;
  if (items.length) changed();
}

function stored() {
  const items = JSON.parse(sessionStorage.getItem(STORED));
  return items.map((item) => ({ ...item, phase: "queued", details: {}, blobs: {}, sendMs: 0, isRestored: true }));
}

/** Whether the items are those of who is signed in now. Another person's leave nothing behind, nor does whose they are. */
async function areOurs(items) {
  await listModels().catch(() => {});
  const user = await learnOwner();
  if (!user || items.every((item) => item.owner === user)) return true; // an outage changes nobody
  items.forEach(({ photo }) => photo.stored && forgetOriginal(photo.stored));
  sessionStorage.removeItem(STORED);
  return false;
}
