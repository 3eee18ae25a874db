/** Brings a job of the history to the page's photos, where it is shown and run again. */

import { call } from "../api.js";
import { adopt } from "../items.js";
import { changed, state } from "../state.js";
import { nameOf } from "./texts.js";

/** The item of a job: without the photo itself, which only the server may have. */
export function itemOf(job) {
  const { model, params, upload, result } = job;
  const picture = result?.objects.preview ?? result?.thumbnail;
  const thumb = result?.kind === "matte" ? null : picture?.url; // a matte's has lost its ground
  const fresh = { phase: "queued", details: {}, blobs: {}, sendMs: 0, isRestored: true };
  return { name: nameOf(job), photo: { upload }, request: { model, params }, thumb, job, ...fresh };
}

/** Show the job as it is now among the photos. Rejects if it is gone. */
export async function open({ id }) {
  const job = await call("GET", `/jobs/${id}`);
  let item = state.items.find((known) => known.job?.id === id);
  if (!item) {
    item = itemOf(job);
    adopt(item);
  }
  state.current = item;
  changed();
  location.hash = "photos";
}
