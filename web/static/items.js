/** Takes photos from a file to a result. An item is {name, photo, request, phase, details, job, error, ...}. */

import { ApiError, call, follow, listModels, retry } from "./api.js";
import { canvasOf, fit, uprightOf } from "./photos.js";
import { TYPES } from "./pictures.js";
import { changed, isBusy, outputsOf, ready, request, state } from "./state.js";
import { submit } from "./upload.js";

const MAX_UPLOADS = 3;
const THUMB_SIDE = 480;
const STORED = "pixelmill.items";

export function add(files) {
  const fresh = [...files].map((file) => ({
    name: file.name || "pasted.png",
    photo: { file },
    url: URL.createObjectURL(file),
  }));
  state.items.push(...fresh);
  state.current = fresh[0] ?? state.current;
  fresh.forEach(run);
}

/** Take an item to its result with the present model and parameters. An error is shown with the item. */
export async function run(item) {
  item.controller?.abort();
  const { signal } = (item.controller = new AbortController());
  Object.assign(item, { job: null, error: null, previewed: null, blobs: {}, sendMs: 0 });
  setPhase(item, "pending");
  await attempt(item, signal, async () => {
    await ready;
    item.request = request();
    const job = await accepted(item, signal);
    await Promise.all([watch(item, job, signal), keepThumb(item)]);
  });
}

/** Ends an upload at once; a job is cancelled, and ends when the server says so. */
export function stop(item) {
  if (!item.job) return abandon(item);
  setPhase(item, "cancelling");
  cancel(item).catch(() => setPhase(item, item.job.state)); // it still runs
}

export function remove(item) {
  if (isBusy(item)) abandon(item);
  if (item.url) URL.revokeObjectURL(item.url);
  const at = state.items.indexOf(item);
  state.items.splice(at, 1);
  if (state.current === item) state.current = state.items[Math.min(at, state.items.length - 1)] ?? null;
  store(state.items);
  changed();
}

/** After a reload: the jobs of this tab, with the small copies of their photos. */
export function restore() {
  for (const item of stored()) {
    const { signal } = (item.controller = new AbortController());
    state.items.push(item);
    attempt(item, signal, () => listModels().then(() => watch(item, item.job, signal)));
  }
  state.current = state.items.at(-1) ?? null;
}

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
    const asked = { ...item.request, ...outputsOf(item.request.model) };
    return await submit(item.photo, asked, { sendOriginal: state.sendOriginal, signal, onPhase });
  } finally {
    item.sendMs = performance.now() - started;
    release();
  }
}

async function watch(item, job, signal) {
  const onChange = (job) => {
    const fresh = item.job?.id !== job.id;
    item.job = job;
    if (fresh) store(state.items);
    if (job.state !== "done" && item.phase !== "cancelling") setPhase(item, job.state);
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
    item.error = known ? error : new ApiError(`Something went wrong: ${error.message}.`, { hint: "Try again." });
    setPhase(item, "failed");
    if (!known) throw error;
  }
}

function setPhase(item, phase, details = {}) {
  Object.assign(item, { phase, details });
  changed();
}

let uploads = 0;
const waiting = [];

async function acquire(signal) {
  while (uploads >= MAX_UPLOADS) await new Promise((resolve) => waiting.push(resolve));
  signal.throwIfAborted();
  uploads++;
}

function release() {
  uploads--;
  waiting.splice(0).forEach((resolve) => resolve());
}

/** Make a small copy as a data: address for a reload; none if the browser cannot read the photo. */
async function keepThumb(item) {
  const upright = !item.thumb && item.photo.file && (await uprightOf(item.photo));
  if (!upright) return;
  const [canvas, context] = canvasOf(...fit(upright, THUMB_SIDE));
  upright.draw(context, canvas.width, canvas.height);
  item.thumb = canvas.toDataURL(upright.isOpaque ? TYPES.jpeg : TYPES.webp, 0.75);
  store(state.items);
  changed();
}

// --- What survives a reload of the tab: jobs and small copies of their photos ---

function store(items) {
  const kept = items
    .filter((item) => item.job)
    .map(({ name, thumb, request, job, photo: { sha256, size, variant, upload, sendOriginal } }) => ({
      name,
      thumb,
      request,
      job: { id: job.id, state: "queued" },
      photo: { sha256, size, variant, upload, sendOriginal },
    }));
  while (kept.length && !written(kept)) kept.shift(); // drop the oldest if the tab's storage is full
  if (!kept.length) sessionStorage.removeItem(STORED);
}

function written(kept) {
  try {
    sessionStorage.setItem(STORED, JSON.stringify(kept));
    return true;
  } catch {
    return false;
  }
}

function stored() {
  const items = JSON.parse(sessionStorage.getItem(STORED) ?? "[]");
  return items.map((item) => ({ ...item, phase: "queued", details: {}, blobs: {}, sendMs: 0 }));
}
