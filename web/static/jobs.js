/** Follows a job to its end: a server-sent stream while one is free, else a question every 2 seconds. */

import { Trouble, call, pause } from "./api.js";

const STREAMS = 2; // a browser opens six connections to one HTTP/1.1 origin; uploads need some
const POLL_S = 2;
const LOST_AFTER = 15;
let streams = 0;

export const isOver = (job) => ["done", "failed", "cancelled"].includes(job.state);

/** Resolves with the job's final form; `onChange(job)` on the way. */
export async function follow(job, onChange, signal) {
  onChange(job);
  for (let silent = 0; !isOver(job); ) {
    try {
      job = (await stream(job.id, onChange, signal)) ?? (await call("GET", `/jobs/${job.id}`, null, signal));
      silent = 0;
    } catch (trouble) {
      if (signal.aborted || !trouble.passing || ++silent > LOST_AFTER) throw trouble;
    }
    onChange(job);
    if (!isOver(job)) await pause(POLL_S, signal);
  }
  if (job.state === "failed") throw failure(job);
  return job;
}

export const cancel = (id) => call("POST", `/jobs/${id}/cancel`).catch(() => {});

/** The final job of the event stream, or null when there is no free stream or it broke. */
function stream(id, onChange, signal) {
  if (!globalThis.EventSource || streams >= STREAMS) return null;
  streams++;
  return new Promise((resolve) => {
    const source = new EventSource(`/api/v1/jobs/${id}/events`);
    const end = (job) => {
      source.close();
      resolve(job);
    };
    source.onmessage = (event) => {
      const job = JSON.parse(event.data);
      if (isOver(job)) end(job);
      else onChange(job);
    };
    source.onerror = () => end(null);
    signal.addEventListener("abort", () => end(null), { once: true });
  }).finally(() => streams--);
}

function failure({ error }) {
  const { message = "It failed.", hint = "", code = "" } = error ?? {};
  return new Trouble(message, { hint, code });
}
