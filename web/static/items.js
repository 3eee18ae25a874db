/** A photo's way from file to result. An item is {name, photo, request, phase, details, job, trouble, ...}. */

import { Trouble, call, follow, listModels, patiently } from "./api.js";
import { bitmapOf, fitted } from "./pictures.js";
import { changed, isBusy, ready, request, state } from "./state.js";
import { submit } from "./upload.js";

const AT_ONCE = 3;
const THUMB_SIDE = 480;
const KEPT = "pixelmill.items";

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

/** Take an item to its result with the model and parameters of now. What goes wrong is shown with it. */
export async function run(item) {
  item.controller?.abort();
  const { signal } = (item.controller = new AbortController());
  Object.assign(item, { job: null, trouble: null, previewed: null, blobs: {}, sendMs: 0 });
  enter(item, "turn");
  await attempt(item, signal, async () => {
    await ready;
    item.request = request();
    const job = await accepted(item, signal);
    await Promise.all([watch(item, job, signal), keepThumb(item)]);
  });
}

/** What is still being sent stops at once; a job ends as the server says. */
export function stop(item) {
  if (!item.job) return leave(item);
  enter(item, "cancelling");
  cancel(item).catch(() => enter(item, item.job.state)); // it goes on
}

export function remove(item) {
  if (isBusy(item)) leave(item);
  if (item.url) URL.revokeObjectURL(item.url);
  const at = state.items.indexOf(item);
  state.items.splice(at, 1);
  if (state.current === item) state.current = state.items[Math.min(at, state.items.length - 1)] ?? null;
  remember(state.items);
  changed();
}

/** After a reload: the jobs of this tab, with the small copies of their photos. */
export function restore() {
  for (const item of recall()) {
    const { signal } = (item.controller = new AbortController());
    state.items.push(item);
    attempt(item, signal, () => listModels().then(() => watch(item, item.job, signal)));
  }
  state.current = state.items.at(-1) ?? null;
}

/** Follow an item no further. */
function leave(item) {
  item.controller?.abort(new DOMException("stopped", "AbortError"));
  if (item.job) cancel(item).catch(() => {});
  enter(item, "cancelled");
}

const cancel = ({ job }) => patiently(() => call("POST", `/jobs/${job.id}/cancel`));

/** The job, once the server has the photo; at most AT_ONCE items are on their way at a time. */
async function accepted(item, signal) {
  await turn(signal);
  const started = performance.now();
  try {
    const tell = (phase, details) => enter(item, phase, details);
    return await submit(item.photo, item.request, { sendOriginal: state.sendOriginal, signal, tell });
  } finally {
    item.sendMs = performance.now() - started;
    free();
  }
}

async function watch(item, job, signal) {
  const onChange = (now) => {
    const fresh = item.job?.id !== now.id;
    item.job = now;
    if (fresh) remember(state.items);
    if (now.state !== "done" && item.phase !== "cancelling") enter(item, now.state);
  };
  onChange(await follow(job, onChange, signal));
  enter(item, item.job.state);
}

async function attempt(item, signal, work) {
  try {
    await work();
  } catch (error) {
    if (signal.aborted) return;
    const known = error instanceof Trouble;
    item.trouble = known ? error : new Trouble(`Something went wrong: ${error.message}.`, { hint: "Try again." });
    enter(item, "failed");
    if (!known) throw error;
  }
}

function enter(item, phase, details = {}) {
  Object.assign(item, { phase, details });
  changed();
}

let running = 0;
const waiting = [];

async function turn(signal) {
  while (running >= AT_ONCE) await new Promise((resolve) => waiting.push(resolve));
  signal.throwIfAborted();
  running++;
}

function free() {
  running--;
  waiting.splice(0).forEach((resolve) => resolve());
}

/** Make a small copy as a data: address, for a reload; none if the browser cannot read the photo. */
async function keepThumb(item) {
  const bitmap = !item.thumb && item.photo.file && (await bitmapOf(item.photo));
  if (!bitmap) return;
  item.thumb = fitted(bitmap, THUMB_SIDE, "#fff").toDataURL("image/jpeg", 0.75);
  remember(state.items);
}

// --- What a reload of the tab must not lose: jobs and small copies of their photos ---

function remember(items) {
  const kept = items
    .filter((item) => item.job)
    .map(({ name, thumb, request, job, photo: { sha256, size, variant, upload, sendOriginal } }) => ({
      name,
      thumb,
      request,
      job: { id: job.id, state: "queued" },
      photo: { sha256, size, variant, upload, sendOriginal },
    }));
  while (kept.length && !written(kept)) kept.shift(); // the oldest go first when the tab's storage is full
  if (!kept.length) sessionStorage.removeItem(KEPT);
}

function written(kept) {
  try {
    sessionStorage.setItem(KEPT, JSON.stringify(kept));
    return true;
  } catch {
    return false;
  }
}

function recall() {
  const items = JSON.parse(sessionStorage.getItem(KEPT) ?? "[]");
  return items.map((item) => ({ ...item, phase: "queued", details: {}, blobs: {}, sendMs: 0 }));
}
