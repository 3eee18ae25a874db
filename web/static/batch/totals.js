/** What there is to say of many photos: how many are done, and how long the rest takes. */

import { isBusy } from "../state.js";

/** Codes of errors that another try does not mend: the file itself is wrong. */
const LASTING = ["bad_input", "bad_image", "decode_failed", "unsupported_type", "too_large", "empty", "model_failure", "poison", "fetch_off", "bad_url"];

/** Whether another run may help. */
export const canRetry = ({ phase, error }) => phase === "cancelled" || (phase === "failed" && !LASTING.includes(error?.code));

/** {count, done, failed, cancelled, busy, retriable} of the items. */
export function totalsOf(items) {
  const of = (phase) => items.filter((item) => item.phase === phase).length;
  const [done, failed, cancelled] = ["done", "failed", "cancelled"].map(of);
  const busy = items.filter(isBusy).length;
  return { count: items.length, done, failed, cancelled, busy, retriable: items.filter(canRetry).length };
}

/** Tells how long the rest takes by how fast photos have ended since the first one was waiting. */
export class Pace {
  /** Seconds until `busy` photos have ended, or null while too little is known; `ended`: how many have. */
  secondsLeft({ busy, done, failed, cancelled }, now = performance.now()) {
    const ended = done + failed + cancelled;
    if (!busy) this.start = null;
    else this.start ??= { now, ended };
    const since = this.start && ended - this.start.ended;
    return since >= 2 ? (busy * (now - this.start.now)) / since / 1000 : null;
  }
}
