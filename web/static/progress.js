/** The progress of an item: its stages as a bar, its phase as a sentence, its times once it is done. */

import { percent } from "./numbers.js";

const STAGES = { send: "Send", queued: "Queue", preprocess: "Prepare", inference: "Infer", postprocess: "Finish" };
const STAGE_OF = { queued: "queued", preprocessing: "preprocess", inferring: "inference", postprocessing: "postprocess" };

export const bytes = (count) => (count >= 1e6 ? `${(count / 1e6).toFixed(1)} MB` : `${Math.ceil(count / 1e3)} KB`);
export const duration = (ms) => (ms >= 1000 ? `${(ms / 1000).toFixed(1)} s` : `${Math.round(ms)} ms`);

/** The phase of an item as a sentence. */
export function sentence({ phase, details = {}, job }) {
  switch (phase) {
    case "pending":
      return "Waiting for its turn";
    case "hashing":
      return "Reading the photo";
    case "shrinking":
      return "Shrinking it before it is sent";
    case "uploading":
      return `Sending ${percent(details.fraction)} of ${bytes(details.total)}`;
    case "retrying":
      return `${details.error.message} Trying again in ${Math.ceil(details.seconds)} s`;
    case "queued":
      return queued(job);
    case "preprocessing":
      return `Preparing the photo${rest(job)}`;
    case "inferring":
      return `Running the model${rest(job)}`;
    case "postprocessing":
      return "Finishing the result";
    case "cancelling":
      return "Stopping";
    case "cancelled":
      return "Stopped";
    case "failed":
      return "Failed";
  }
  return "Done";
}

function queued(job) {
  const ahead = job.position > 1 ? `, ${job.position - 1} ahead` : "";
  return `In the queue${ahead}${rest(job)}`;
}

/** About how long the job will still take, if that is 2 s or more. */
const rest = (job) => (job?.eta_s >= 2 ? `, about ${duration(Math.round(job.eta_s) * 1000).replace(".0", "")} left` : "");

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
      label.append(item.job?.cached ? "Answered in" : STAGES[name], " ", time);
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
