/** One tile of the history: the small picture, name, model, when it was made and when it goes. */

import { call } from "../api.js";
import { make, modelNamed } from "../state.js";
import { t, when } from "../words.js";
import { inTime, nameOf, stateOf } from "./texts.js";

const SHORT = { day: "numeric", month: "short", hour: "numeric", minute: "2-digit" };

const TILE = make(`<li role="option" tabindex="-1" aria-selected="false">
  <span class="picture"><img alt="" loading="lazy" decoding="async" hidden><i></i></span>
  <b></b><small class="model"></small><small class="made"></small><small class="expiry"></small>
  <span class="check" aria-hidden="true"></span><span class="remove" aria-hidden="true">×</span></li>`);

/** A tile for a job; its element has the job as `job`. */
export function tileOf(job) {
  const tile = TILE.cloneNode(true);
  const image = tile.querySelector("img");
  image.onerror = () => renew(tile, image);
  drawTile(tile, job);
  return tile;
}

export function drawTile(tile, job) {
  const small = job.result?.thumbnail?.url;
  const [image, ending] = [tile.querySelector("img"), tile.querySelector("i")];
  if (small && image.hidden) Object.assign(image, { src: small, hidden: false }); // another signature of it is no other picture
  ending.textContent = small ? "" : { failed: "!", cancelled: "–" }[job.state] ?? "…";
  const model = t(modelNamed(job.model)?.title ?? job.model);
  tile.querySelector("b").textContent = nameOf(job);
  tile.querySelector(".model").textContent = model;
  tile.querySelector(".made").textContent = when(job.created, SHORT);
  tile.querySelector(".expiry").textContent = expiryOf(job);
  tile.dataset.state = job.state;
  tile.title = nameOf(job);
  tile.querySelector(".remove").title = t("Delete {name}", { name: nameOf(job) });
  tile.setAttribute("aria-label", [nameOf(job), model, when(job.created), stateOf(job), expiryOf(job)].join(", "));
  tile.job = job;
}

function expiryOf(job) {
  if (!job.expires) return stateOf(job);
  const gone = t("gone {when}", { when: inTime(job.expires) });
  return job.state === "done" ? gone : `${stateOf(job)}, ${gone}`;
}

/** The address of a picture works for some minutes; the job has a new one. */
async function renew(tile, image) {
  if (tile.isRenewed) return;
  tile.isRenewed = true;
  const job = await call("GET", `/jobs/${tile.job.id}`).catch(() => null);
  if (job?.result?.thumbnail) image.src = job.result.thumbnail.url;
  else image.hidden = true;
}
