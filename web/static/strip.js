/** The strip of all photos: one tile each, with its name and state. The arrow keys go from photo to photo. */

import { remove } from "./items.js";
import { sentence } from "./progress.js";
import { changed, isBusy, make, modelNamed, state } from "./state.js";
import { t } from "./words.js";

const MOST_WHOLE = 12; // more photos than these are shown once they have a small copy, as whole ones cost memory
const STEPS = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1, Home: -Infinity, End: Infinity };

const TILE = make(`<li><button type="button" class="pick"><img alt="" loading="lazy" decoding="async"><i></i><span></span></button>
  <button type="button" class="remove">×</button></li>`);

const tiles = new Map(); // item -> tile

/** One tile per photo, or only that of `item` drawn anew. Tiles are never moved, since one that moves loses the focus. */
export function drawStrip(strip, item) {
  if (item && tiles.has(item)) return drawTile(tiles.get(item), item);
  for (const [known, tile] of tiles) {
    if (state.items.includes(known)) continue;
    tile.remove();
    tiles.delete(known);
  }
  let last = null;
  for (const known of state.items) {
    if (!tiles.has(known)) last ? last.after(tileOf(known)) : strip.prepend(tileOf(known));
    drawTile((last = tiles.get(known)), known);
  }
}

/** Arrow keys move between photos in the strip, and anywhere else where no element wants them. */
export function listenForKeys(strip) {
  document.addEventListener("keydown", (event) => {
    const step = STEPS[event.key];
    const isInStrip = strip.contains(event.target);
    const isFree = event.target === document.body && event.key.match(/Left|Right/);
    if (!step || !(isInStrip || isFree) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const { items } = state;
    const at = Math.max(0, Math.min(items.length - 1, items.indexOf(state.current) + step));
    if (items[at]) select(items[at], isInStrip);
  });
}

function select(item, focuses) {
  state.current = item;
  changed();
  const pick = tiles.get(item).querySelector(".pick");
  if (focuses) pick.focus();
  pick.scrollIntoView({ block: "nearest" });
}

function tileOf(item) {
  const tile = TILE.cloneNode(true);
  tiles.set(item, tile);
  tile.querySelector("img").onerror = ({ target }) => (target.hidden = true);
  tile.querySelector(".pick").dataset.ending = item.name.split(".").pop().slice(0, 5);
  tile.querySelector(".pick").onclick = () => {
    state.current = item;
    changed();
  };
  tile.querySelector(".remove").onclick = () => {
    remove(item);
    tiles.get(state.current)?.querySelector(".pick").focus(); // the button that had the focus is gone
  };
  return tile;
}

function drawTile(tile, item) {
  const { objects, thumbnail } = (item.phase === "done" && item.job.result) || {};
  const preview = (objects?.preview ?? thumbnail)?.url;
  const [pick, image] = [tile.querySelector(".pick"), tile.querySelector("img")];
  const source = (item.previewed ??= preview || null) ?? item.thumb ?? wholeOf(item);
  if (source && image.getAttribute("src") !== source) {
    image.hidden = false; // the photo itself may be one that this browser cannot show
    image.src = source;
  }
  tile.dataset.phase = phaseOf(item);
  tile.querySelector("i").textContent = item.phase === "queued" && item.job?.position ? item.job.position : "";
  const label = item.isBeside ? `${t(modelNamed(item.request?.model)?.title ?? "")} · ${item.name}` : item.name;
  pick.title = tile.querySelector("span").textContent = label;
  pick.setAttribute("aria-current", item === state.current);
  pick.setAttribute("aria-label", `${label}: ${sentence(item)}`);
  tile.querySelector(".remove").setAttribute("aria-label", t("Remove {name}", item));
}

/** The photo itself, before there is a small copy of it. */
function wholeOf(item) {
  if (!item.photo.file || state.items.length > MOST_WHOLE) return item.url;
  return (item.url ??= URL.createObjectURL(item.photo.file));
}

/** What a tile tells apart: waiting, at work, and the three ends. */
function phaseOf({ phase }) {
  if (!isBusy({ phase })) return phase;
  return ["pending", "queued"].includes(phase) ? "waiting" : "busy";
}
