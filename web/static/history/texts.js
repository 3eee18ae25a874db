/** How dates, lengths of time and states are said in the history. */

import { language, t } from "../words.js";

export const STATES = {
  done: ["done"],
  "under way": ["queued", "preprocessing", "inferring", "postprocessing", "cancelling"],
  failed: ["failed"],
  cancelled: ["cancelled"],
};

const UNITS = [["day", 86_400], ["hour", 3600], ["minute", 60], ["second", 1]];

const relative = new Intl.RelativeTimeFormat(language, { numeric: "always" });

/** `24 hours`, `7 days`: the largest unit of which there are two at least. */
export function lengthOf(seconds) {
  const [unit, length] = UNITS.find(([, length]) => seconds >= 2 * length) ?? UNITS.at(-1);
  return new Intl.NumberFormat(language, { style: "unit", unit, unitDisplay: "long" }).format(Math.round(seconds / length));
}

/** `in 6 days`. */
export function inTime(time) {
  const seconds = Math.max(0, (new Date(time) - Date.now()) / 1000);
  const [unit, length] = UNITS.find(([, length]) => seconds >= 2 * length) ?? UNITS.at(-1);
  return relative.format(Math.round(seconds / length), unit);
}

/** `done`, `under way`, `failed` or `cancelled`, in the page's language. */
export const stateOf = ({ state }) => t(Object.keys(STATES).find((name) => STATES[name].includes(state)) ?? state);

export const nameOf = (job) => job.name ?? t("Photo without a name");
