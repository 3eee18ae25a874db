/** Talks to /api/v1: JSON in and out, errors as sentences, patience with a busy server. */

const BASE = "/api/v1";
const TRIES = 5;
const LONGEST_WAIT_S = 30;
const SILENT_S = 10; // a job of which the stream says nothing for so long is asked for
const MOST_NAMED = 100;
const POLL_S = 2;
const LOST_AFTER = 15;

/** What went wrong, what to do, and whether trying later may help. */
export class Trouble extends Error {
  constructor(message, { hint, code, status = 0, retryAfter = 0, body } = {}) {
    super(asSentence(message));
    Object.assign(this, { hint: hint && asSentence(hint), code, status, retryAfter, body });
  }

  get passing() {
    return [0, 429, 502, 503, 504].includes(this.status);
  }
}

const asSentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

export async function call(method, path, body, signal) {
  const answer = await fetch(BASE + path, {
    method,
    signal,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new Trouble("The server did not answer.", { hint: "Check the connection, then try again." });
  });
  const said = await answer.json().catch(() => null);
  if (answer.ok) return said;
  const { message, hint, code } = said?.error ?? {};
  throw new Trouble(message || `The server answered ${answer.status}.`, {
    hint: hint || (answer.status >= 500 ? "Try again in a moment." : ""),
    code,
    status: answer.status,
    retryAfter: Number(answer.headers.get("Retry-After")) || 0,
    body: said,
  });
}

/** Repeat `attempt` while its trouble passes; `onWait(seconds, trouble)` before each pause. */
export async function patiently(attempt, signal, onWait = () => {}) {
  for (let tried = 1; ; tried++) {
    try {
      return await attempt();
    } catch (trouble) {
      if (signal?.aborted || !trouble.passing || tried >= TRIES) throw trouble;
      const backOff = 0.5 * 2 ** tried * (0.75 + Math.random() / 2);
      const seconds = Math.min(LONGEST_WAIT_S, trouble.retryAfter || backOff);
      onWait(seconds, trouble);
      await pause(seconds, signal);
    }
  }
}

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/** The first answer sets the identity cookie, so everything else waits for it. */
let known = null;
export function listModels({ fresh = false } = {}) {
  if (!known || fresh) known = patiently(() => call("GET", "/models")).then((said) => said.models);
  known.catch(() => (known = null));
  return known;
}

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

// One stream of events for all jobs of this tab, open only while one of them runs.

const followed = new Map(); // job id -> what hears of it
const told = new Map(); // jobs that the stream spoke of before their own answer had arrived
let source = null;

/** The final job of the event stream, or null when it broke or kept silent on it. */
function stream(id, onChange, signal) {
  if (!globalThis.EventSource) return null;
  return new Promise((resolve) => {
    let silence;
    const end = (job) => {
      clearTimeout(silence);
      followed.delete(id);
      if (!followed.size) close();
      resolve(job);
    };
    const hear = (job) => {
      clearTimeout(silence);
      silence = setTimeout(end, SILENT_S * 1000, null);
      if (job && isOver(job)) end(job);
      else if (job) onChange(job);
    };
    followed.set(id, { hear, end });
    signal.addEventListener("abort", () => end(null), { once: true });
    hear(told.get(id));
    told.delete(id);
    setTimeout(open); // after a reload all its jobs are named at once
  });
}

function open() {
  if (source || !followed.size) return;
  source = new EventSource(`${BASE}/events?jobs=${[...followed.keys()].slice(-MOST_NAMED)}`);
  source.onmessage = ({ data }) => {
    const job = JSON.parse(data);
    const one = followed.get(job.id);
    if (one) one.hear(job);
    else told.set(job.id, job);
  };
  source.addEventListener("gone", ({ data }) => followed.get(JSON.parse(data).id)?.end(null));
  source.onerror = () => [...followed.values()].forEach((one) => one.end(null));
}

function close() {
  source?.close();
  source = null;
  told.clear();
}

function failure({ error }) {
  return new Trouble(error?.message || "It failed.", { hint: error?.hint, code: error?.code });
}
