/** Takes photos from a file to a result. An item is {name, photo, request, phase, details, job, error, ...}. */

import { ApiError, call, follow, listModels, retry } from "./api.js";
import { changed, isBusy, outputsOf, ready, request, sent, state, takesVolumes } from "./state.js";
import { t } from "./words.js";

const MAX_UPLOADS = 3;
const MAX_JOBS = 32; // at the server at a time, which refuses more than its own limit
const MOST_ADDED = 25; // photos at a time
export const STORED = "pixelmill.items"; // in sessionStorage
const TOO_LARGE = ["too_large", "too_many_pixels", "side_too_long"];
const SHRINK = "Take the tick off “Send originals”: then a smaller copy is sent.";

const VOLUME = /\.(zip|nii|nii\.gz|nrrd|dcm|ima)$/i;

const photoTools = () => import("./photo.js");
const addressTools = () => import("./sources/address.js");
const deletions = () => import("./history/deletions.js");
const forgetOriginal = (id) => id && photoTools().then((tools) => tools.forgetOriginal(id));

/** Take photos: a few at once, and of very many the others in between, so that the page stays alive. */
export async function add(files) {
  let all = [...files];
  if (takesVolumes() || all.some(({ name }) => VOLUME.test(name))) all = await (await import("./volume/files.js")).grouped(all, takesVolumes());
  for (let at = 0; at < all.length; at += MOST_ADDED) {
    if (at) await new Promise((resolve) => setTimeout(resolve));
    const fresh = all.slice(at, at + MOST_ADDED).map(itemOf);
    state.items.push(...fresh);
    if (!at) state.current = fresh[0];
    if (location.hash) location.hash = "photos"; // of the history
    changed();
    fresh.forEach(run);
  }
}

function itemOf(file) {
  return { name: file.name || "pasted.png", photo: file.address ? { address: file.address } : { file, volumeType: file.volumeType }, phase: "pending", details: {} };
}

/** Take a photo that is at an address, which the server asks. */
export async function addAddress(address) {
  const name = address.split(/[?#]/)[0].split("/").pop() || "photo";
  await add([{ name, address }]);
}

/** Take an item to its result with the present model and parameters. An error is shown with the item. */
export async function run(item) {
  item.controller?.abort();
  const { signal } = (item.controller = new AbortController());
  keeping(); // asks before the page is left
  Object.assign(item, { job: null, error: null, previewed: null, blobs: {}, sendMs: 0, isRestored: false });
  setPhase(item, "pending");
  await attempt(item, signal, async () => {
    await ready;
    item.request = item.asked ?? request();
    learnOwner();
    const job = await accepted(item, signal);
    await Promise.all([watch(item, job, signal), keepThumb(item), keepPhoto(item)]);
  });
}

/** Ends an upload at once; a job is cancelled, and ends when the server says so. */
export function stop(item) {
  if (!item.job) return abandon(item);
  setPhase(item, "cancelling");
  cancel(item).catch(() => item.job && setPhase(item, item.job.state)); // it still runs
}

/**
 * Run the same photo once more, beside what there is of it. What has no result is tried again in its place. `asked`:
 * the request; without it, what the form says now.
 */
export function runBeside(item, isShown = true, asked = undefined) {
  if (item.phase !== "done") return run(item);
  const { name, photo, thumb } = item;
  const beside = { name, photo, thumb, asked, phase: "pending", details: {}, isBeside: true };
  item.isBeside = true;
  state.items.splice(state.items.indexOf(item) + 1, 0, beside);
  if (isShown) state.current = beside;
  changed();
  return run(beside);
}

/** Take an item off the page at once, and off the server a little later: until then that can be undone. */
export async function remove(item) {
  if (isBusy(item)) abandon(item);
  const at = state.items.indexOf(item);
  state.items.splice(at, 1);
  if (state.current === item) state.current = state.items[Math.min(at, state.items.length - 1)] ?? null;
  store();
  changed();
  const putBack = () => {
    state.items.splice(at, 0, item);
    state.current = item;
    store();
    changed();
  };
  (await deletions()).deleteLater(item.job ? [item.job.id] : [], { undo: putBack, end: () => letGo(item) });
}

/** What the browser has of an item that is gone for good. */
function letGo({ url, photo }) {
  if (url) URL.revokeObjectURL(url);
  if (!state.items.some((item) => item.photo === photo)) forgetOriginal(photo.stored);
}

/** Show an item whose job there is already, and follow that. */
export function adopt(item) {
  const { signal } = (item.controller = new AbortController());
  state.items.push(item);
  return attempt(item, signal, async () => {
    item.photo.file = await (await photoTools()).originalOf(item.photo.stored);
    await listModels();
    await watch(item, item.job, signal);
  });
}

/** After a reload: the jobs of this tab, with their photos where those are still kept, else with small copies of them. */
export async function restore() {
  photoTools().then(({ startKeeping }) => startKeeping());
  if (localStorage.getItem("pixelmill.deletions")) deletions().then(({ finish }) => finish());
  if (sessionStorage.getItem(STORED)) (await keeping()).restore();
}

let owner = null; // whose items these are

export const learnOwner = async () => (owner ??= await call("GET", "/me").then(({ user }) => user, () => null));

/** Follow an item no further. */
function abandon(item) {
  item.controller?.abort(new DOMException("stopped", "AbortError"));
  if (item.job) cancel(item).catch(() => {});
  setPhase(item, "cancelled");
}

const cancel = ({ job }) => retry(() => call("POST", `/jobs/${job.id}/cancel`));

/** The job, once the server has the photo; at most MAX_UPLOADS items are on their way at a time. */
async function accepted(item, signal) {
  await acquire(signal);
  const started = performance.now();
  try {
    const onPhase = (phase, details) => setPhase(item, phase, details);
    const { examine, submit } = await (item.photo.address ? addressTools() : photoTools());
    if (item.photo.file && !item.photo.upload) await examine(item.photo, onPhase);
    changed(item);
    const asked = { ...item.request, ...outputsOf(item.request.model, item.photo), name: nameOf(item) };
    return await submit(item.photo, sent(asked), { sendOriginal: state.sendOriginal, signal, onPhase });
  } finally {
    item.sendMs = performance.now() - started;
    release();
  }
}

/** As the server takes names: without signs that cannot be seen, and not too long. */
const nameOf = ({ name }) => [...name.replace(/\p{C}/gu, " ")].slice(0, 200).join("");

async function watch(item, job, signal) {
  const onChange = (job) => {
    const fresh = item.job?.id !== job.id;
    item.job = job;
    if (fresh) store();
    if (job.state !== "done" && item.phase !== "cancelling") setPhase(item, job.state, job.slices ? { fraction: job.slices.done / job.slices.total } : {});
  };
  onChange(await follow(job, onChange, signal));
  setPhase(item, item.job.state);
}

async function attempt(item, signal, work) {
  try {
    await work();
  } catch (error) {
    if (signal.aborted) return;
    const known = error instanceof ApiError;
    if (TOO_LARGE.includes(error.code) && item.photo.sendOriginal && item.photo.size) error.hint = t(SHRINK);
    item.error = known ? error : new ApiError(t("Something went wrong: {reason}.", { reason: error.message }), { hint: "Try again." });
    setPhase(item, "failed");
    if (!known) throw error;
  }
}

function setPhase(item, phase, details = {}) {
  Object.assign(item, { phase, details });
  if (!isBusy(item)) wake();
  changed(item);
}

let uploads = 0;
const waiting = [];

/** Waits until this item may be sent; items are sent in the order in which they asked. */
async function acquire(signal) {
  if (!hasRoom() || waiting.length) await new Promise((resolve) => waiting.push({ signal, resolve }));
  signal.throwIfAborted();
  uploads++;
}

function release() {
  uploads--;
  wake();
}

const hasRoom = () => uploads < MAX_UPLOADS && state.items.filter((item) => item.job && isBusy(item)).length < MAX_JOBS;

/** Let the next one go on, if there is room; whoever was stopped meanwhile goes on too, to end. */
function wake() {
  for (let at = waiting.length - 1; at >= 0; at--) if (waiting[at].signal.aborted) waiting.splice(at, 1)[0].resolve();
  if (waiting.length && hasRoom()) waiting.shift().resolve();
}

/** Make a small copy as a data: address for a reload; none if the browser cannot read the photo. */
async function keepThumb(item) {
  if (item.thumb || !item.photo.file || item.photo.volumeType) return;
  const same = state.items.find(({ photo, thumb }) => thumb && photo.sha256 && photo.sha256 === item.photo.sha256);
  item.thumb = same?.thumb ?? (await (await photoTools()).thumbnailOf(item.photo));
  if (!item.thumb) return;
  store();
  changed(item);
}

/** Keep the photo for a reload, once it is sent; never a volume, which is large and of a patient. */
async function keepPhoto({ photo }) {
  if (!photo.file || photo.stored || photo.volumeType) return;
  photo.stored = await (await photoTools()).keepOriginal(photo.file);
  store();
}

// --- What survives a reload of the tab: data/stored.js keeps it ---

const keeping = () => import("./data/stored.js");

/** Store the items soon. */
export const store = () => keeping().then((tab) => tab.store(owner));
