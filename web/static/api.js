/** Talks to /api/v1: JSON in, JSON out, errors as sentences, patience with a busy server, jobs to their end. */

const BASE = "/api/v1";
const TRIES = 5;
const LONGEST_WAIT_S = 30;
const STREAMS = 2; // a browser opens six connections to one HTTP/1.1 origin; uploads need some
const POLL_S = 2;
const LOST_AFTER = 15;

let streams = 0;

/** What went wrong, what to do about it, and whether the same request may work later. */
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

/** Repeat `attempt` while its trouble is a passing one; `onWait(seconds, trouble)` before each pause. */
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
  return new Trouble(error?.message || "It failed.", { hint: error?.hint, code: error?.code });
}
