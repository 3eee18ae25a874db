/** What is left of one's quotas, said before anything is sent. Without quotas nothing is shown. */

import { call, listModels } from "../api.js";
import { number } from "../numbers.js";
import { gathered, make, onChange, state } from "../state.js";
import { t } from "../words.js";

const MIB = 2 ** 20;
const PAUSE_MS = 1000; // many photos at a time ask once

/** `onMe` hears who this browser is to the server. */
export function mountQuota(root, onMe) {
  const line = make(`<p class="quota" role="status" hidden></p>`);
  root.append(line);
  let [timer, phases] = [0, ""];
  const show = async () => {
    const me = await call("GET", "/me");
    onMe(me);
    line.textContent = sentence(me.limits);
    line.hidden = !line.textContent;
  };
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(() => show().catch(() => {}), PAUSE_MS);
  };
  listModels().then(later, later); // the first answer of the server says who this browser is
  const watch = () => {
    const now = state.items.map((item) => item.phase).join();
    if (now !== phases) later();
    phases = now;
  };
  onChange(gathered(watch));
}

function sentence(limits) {
  const parts = [
    left(limits.images_per_hour, "{left} of {limit} photos left this hour", String),
    left(limits.images_per_day, "{left} of {limit} photos left today", String),
    left(limits.bytes_per_hour, "{left} of {limit} left to send this hour", mib),
    left(limits.bytes_per_day, "{left} of {limit} left to send today", mib),
    left(limits.stored_bytes, "{left} of {limit} left to store", mib),
  ];
  return parts.filter(Boolean).join("; ");
}

const left = (item, text, shown) => item.limit && t(text, { left: shown(item.left), limit: shown(item.limit) });

const mib = (bytes) => `${number(bytes / MIB)} MiB`;
