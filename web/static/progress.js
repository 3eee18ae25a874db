/** The progress of an item: its stages as a bar, its phase as a sentence, its times once it is done. */

import { number, percent } from "./numbers.js";
import { isBusy, state } from "./state.js";
import { t } from "./words.js";

const LONG_MS = 120_000;
const STAGES = { send: "Send", queued: "Queue", preprocess: "Prepare", inference: "Infer", postprocess: "Finish" };
const STAGE_OF = { queued: "queued", preprocessing: "preprocess", inferring: "inference", postprocessing: "postprocess" };

export const bytes = (count) => (count >= 1e6 ? `${number(count / 1e6)} MB` : `${number(Math.ceil(count / 1e3))} KB`);
export const duration = (ms) =>
  ms >= LONG_MS ? t("{count} minutes", { count: Math.round(ms / 60_000) })
  : ms >= 1000 ? t("{seconds} s", { seconds: number(ms / 1000) })
  : t("{count} ms", { count: Math.round(ms) });

/** The phase of an item as a sentence. */
export function sentence(item) {
  const { phase, details = {}, job } = item;
  switch (phase) {
    case "pending":
      return pending(item);
    case "hashing":
      return t(item.photo.volumeType ? "Reading the volume" : "Reading the photo");
    case "shrinking":
      return t("Shrinking it before it is sent");
    case "fetching":
      return t("The server is getting the photo");
    case "uploading":
      return t("Sending {percent} of {size}", { percent: percent(details.fraction), size: bytes(details.total) });
    case "retrying":
      if (details.seconds === Infinity) return t("You are offline. This goes on once the connection is back.");
      return [details.error.message, t("Trying again in {count} s", { count: Math.ceil(details.seconds) })].join(" ");
    case "queued":
      return `${t("In the queue")}${ahead(job)}${rest(job)}`;
    case "preprocessing":
      return `${t(item.photo.volumeType ? "Reading the volume" : "Preparing the photo")}${ahead(job)}${rest(job)}`;
    case "inferring":
      return (job?.slices ? t("Slice {done} of {total}", job.slices) : t("Running the model")) + rest(job);
    case "postprocessing":
      return t("Finishing the result");
    case "cancelling":
      return t("Stopping");
    case "cancelled":
      return t("Stopped");
    case "failed":
      return t("Failed");
  }
  return t("Done");
}

/** Waiting in this browser, which sends a few photos at a time. */
function pending(item) {
  const before = state.items.slice(0, state.items.indexOf(item)).filter(isBusy).length;
  if (!before) return t("Waiting for its turn");
  const left = state.pace ? t(", about {time} left", { time: duration(Math.ceil((before + 1) * state.pace) * 1000) }) : "";
  return t("Waiting, {count} before it", { count: before }) + left;
}

/** How many go through the model before it. */
const ahead = ({ position }) => (position > 1 ? t(", {count} ahead", { count: position - 1 }) : "");

/** About how long the job will still take, if that is 2 s or more. */
const rest = (job) => (job?.eta_s >= 2 ? t(", about {time} left", { time: duration(Math.round(job.eta_s) * 1000) }) : "");

/** Draw the stages into the list `bar`: of equal width while the item runs, as wide as they took once it is done. */
export function drawStages(bar, item) {
  const over = item.phase === "done";
  const times = over ? timesOf(item) : {};
  const names = Object.keys(STAGES).filter((name) => !over || times[name] !== undefined);
  const at = names.indexOf(STAGE_OF[item.phase] ?? "send");
  const total = Object.values(times).reduce((sum, ms) => sum + ms, 0) || 1;
  bar.replaceChildren(
    ...names.map((name, index) => {
      const stage = document.createElement("li");
      stage.dataset.stage = name;
      stage.classList.toggle("unmeasured", item.details?.fraction === undefined);
      stage.dataset.state = over || index < at ? "past" : index === at ? "now" : "ahead";
      stage.style.flexGrow = over ? Math.max(0.04, times[name] / total) : 1;
      stage.style.setProperty("--done", item.details?.fraction ?? 1);
      const label = document.createElement("span");
      const time = document.createElement("b");
      time.textContent = over ? duration(times[name]) : "";
      label.append(t(item.job?.cached ? "Answered in" : STAGES[name]), " ", time);
      stage.title = label.textContent;
      stage.append(document.createElement("i"), label);
      return stage;
    }),
  );
}

/** Milliseconds by stage: this browser's until the job was accepted, then the server's. */
function timesOf({ sendMs, job }) {
  const sent = sendMs ? { send: sendMs } : {}; // unknown after a reload
  return job.cached ? sent : { ...sent, ...job.timings_ms };
}
