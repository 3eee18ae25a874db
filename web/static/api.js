/** Calls /api/v1: JSON in and out, errors with a message and a hint, retries while the server is busy. */

import { language, t } from "./words.js";

export const ROOT = location.pathname.replace(/\/ui\/$/, ""); // of the installation: "" or "/mill"
const BASE = `${ROOT}/api/v1`;
const MODELS = language === "en" ? "/models" : `/models?lang=${language}`; // with the texts of models
const MAX_TRIES = 5;
const MAX_WAIT_S = 30;
const SILENT_S = 10; // a job without an event for this long is asked for
const MAX_NAMED = 100; // jobs in the address of one event stream
const POLL_S = 2;
const MAX_POLL_ERRORS = 15;
const OFFLINE_S = 10; // a browser that says it is off the network is believed for so long
const OURS = ["error", "model_failure", "poison"]; // nothing that the person has done

/** An error with a message, a hint on what to do, and the server's answer; status 0: no answer. */
export class ApiError extends Error {
  constructor(message, { hint, code, status = 0, retryAfter = 0, body } = {}) {
    super(asSentence(t(message)));
    Object.assign(this, { hint: hint && asSentence(t(hint)), code, status, retryAfter, body });
  }

  /** Whether a retry may succeed. */
  get isTransient() {
    return [0, 429, 500, 502, 503, 504].includes(this.status);
  }
}

const asSentence = (text) => text[0].toUpperCase() + text.slice(1) + (/[.!?。！？]$/.test(text) ? "" : t("."));

export async function call(method, path, body, signal) {
  const response = await fetch(BASE + path, {
    method,
    signal,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body && JSON.stringify(body),
  }).catch((error) => {
    if (error.name === "AbortError") throw error;
    throw new ApiError("The server did not answer.", { hint: "Check the connection, then try again." });
  });
  const answer = await response.json().catch(() => null);
  if (response.ok && (answer || response.status === 204)) return answer;
  signal?.throwIfAborted();
  if (response.ok) throw new ApiError("The server did not answer.", { hint: "Try again in a moment." }); // the connection broke
  if (response.status === 401) throw new ApiError("You are no longer signed in.", { hint: "Sign in in another tab, then try again here.", status: 401 });
  const { message, hint, code } = answer?.error ?? {};
  const gone = code === "no_job" && "This result is no longer on the server.";
  throw new ApiError(gone || message || t("The server answered {status}.", { status: String(response.status) }), {
    hint: hint || (response.status >= 500 ? "Try again in a moment." : ""),
    code,
    status: response.status,
    retryAfter: Number(response.headers.get("Retry-After")) || 0,
    body: answer,
  });
}

/**
 * Repeat `attempt` while its error is transient; calls `onWait(seconds, error)` before each pause.
 * Tries while the browser is off the network count nothing: it goes on once that is back (seconds: Infinity).
 */
export async function retry(attempt, signal, onWait = () => {}) {
  for (let tries = 1; ; tries++) {
    try {
      return await attempt();
    } catch (error) {
      if (signal?.aborted || !error.isTransient) throw error;
      if (isOffline(error)) {
        tries = 0;
        onWait(Infinity, error);
        await online(signal);
        continue;
      }
      if (tries >= MAX_TRIES) throw error;
      const backOff = 0.5 * 2 ** tries * (0.75 + Math.random() / 2);
      const seconds = Math.min(MAX_WAIT_S, error.retryAfter || backOff);
      onWait(seconds, error);
      await pause(seconds, signal);
    }
  }
}

const isOffline = (error) => error.status === 0 && navigator.onLine === false;

/** Resolves once the browser is back on the network, or when it is time to see for oneself. */
function online(signal) {
  const back = new Promise((resolve) => addEventListener("online", resolve, { once: true }));
  return Promise.race([back, pause(OFFLINE_S, signal)]);
}

export function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const timer = setTimeout(resolve, seconds * 1000);
    signal?.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

/** The models. This answer sets the identity cookie, so all other requests wait for the first one. */
let models = null;
export function listModels({ fresh = false } = {}) {
  if (!models || fresh) models = retry(() => call("GET", MODELS)).then((answer) => answer.models);
  models.catch(() => (models = null));
  return models;
}

export const isOver = (job) => ["done", "failed", "cancelled"].includes(job.state);

/** Resolves with the job once it has ended; calls `onChange(job)` after each change. */
export async function follow(job, onChange, signal) {
  signal.throwIfAborted();
  onChange(job);
  for (let errors = 0; !isOver(job); ) {
    try {
      job = (await subscribe(job.id, onChange, signal)) ?? (await call("GET", `/jobs/${job.id}`, null, signal));
      errors = 0;
    } catch (error) {
      if (signal.aborted || !error.isTransient || (!isOffline(error) && ++errors > MAX_POLL_ERRORS)) throw error;
    }
    onChange(job);
    if (!isOver(job)) await pause(POLL_S, signal);
  }
  if (job.state === "failed") throw failure(job);
  return job;
}

// One event stream for all jobs of this tab, open only while one of them runs.

const subscriptions = new Map(); // job id -> {onJob, end}
const early = new Map(); // jobs whose event came before the answer to the request that made them
let source = null;

/** Resolves with the ended job, or with null if the stream breaks or has no event of it for SILENT_S. */
function subscribe(id, onChange, signal) {
  if (!globalThis.EventSource) return null;
  return new Promise((resolve) => {
    let timer;
    const end = (job) => {
      clearTimeout(timer);
      subscriptions.delete(id);
      if (!subscriptions.size) close();
      resolve(job);
    };
    const onJob = (job) => {
      clearTimeout(timer);
      timer = setTimeout(end, SILENT_S * 1000, null);
      if (job && isOver(job)) end(job);
      else if (job) onChange(job);
    };
    subscriptions.set(id, { onJob, end });
    signal.addEventListener("abort", () => end(null), { once: true });
    onJob(early.get(id));
    early.delete(id);
    setTimeout(open); // later, so that after a reload one stream names all jobs
  });
}

function open() {
  if (source || !subscriptions.size) return;
  source = new EventSource(`${BASE}/events?jobs=${[...subscriptions.keys()].slice(-MAX_NAMED)}`);
  source.onmessage = ({ data }) => {
    const job = JSON.parse(data);
    const subscription = subscriptions.get(job.id);
    if (subscription) subscription.onJob(job);
    else early.set(job.id, job);
  };
  source.addEventListener("gone", ({ data }) => subscriptions.get(JSON.parse(data).id)?.end(null));
  source.onerror = () => [...subscriptions.values()].forEach(({ end }) => end(null));
}

function close() {
  source?.close();
  source = null;
  early.clear();
}

function failure({ id, error }) {
  const reference = OURS.includes(error?.code) && `Whoever runs this server finds it in the log as ${id}.`;
  return new ApiError(error?.message || "The job failed.", { hint: error?.hint || reference, code: error?.code });
}
