/** What takes long: cut-outs for the screen and for files. Runs in a worker (worker.js), or in the page without one. */

import { bitmapOf, canvasOf, fit, Upright, uprightOf } from "../photo/photos.js";
import { shrunk, TYPES, written } from "../photo/pictures.js";
import { boxed } from "./boxes.js";
import { belowPicture, boxOf, composed, drawn, encoded, PLAIN } from "./compose.js";
import { Cutout, edgesOf } from "./cutout.js";
import { crcOf, pngOf } from "./png.js";

const SHOWN_SIDE = 1600;
const SAFE_SIDE = 2048; // a canvas that every browser can hold
const MOST_HELD = 3; // items of which something is kept
const KEEP_MS = 10_000; // for which a whole decoded photo is kept after it was last used

const TILE_SIDES = [2400, 3600, 5400, 8100]; // so that not every step of the zoom shrinks the photo anew
const PIECE = 2 ** 22; // bytes of a file that are read at a time

const held = new Map(); // key -> {photo, parts, whole, timer, shown, latest}
const grounds = new Map(); // id of a background picture -> Upright

/** Take a photo: {file, header}, or {bitmap, isOpaque}, or null. Answers with its size; null if it cannot be decoded. */
async function open({ key, photo }) {
  const entry = held.get(key) ?? { photo: null, parts: {}, shown: new Map() };
  held.delete(key);
  held.set(key, entry); // the latest is the last
  for (const other of [...held.keys()].slice(0, -MOST_HELD)) drop(other);
  if (signOf(photo) !== signOf(entry.photo)) reset(entry, { photo, parts: {}, job: null, size: undefined });
  if (entry.size === undefined) {
    const { source } = await whole(entry);
    entry.size = source && { width: source.width, height: source.height };
  }
  return entry.size;
}

const signOf = (photo) => photo && JSON.stringify([photo.file?.size, photo.header?.orientation, photo.bitmap?.width, photo.id]);

/** What there is besides the photo, as Blobs: {alpha, edges} of the server, or its `cut` picture. */
async function give({ key, job, parts }) {
  const entry = held.get(key);
  if (entry.job !== job) reset(entry, { parts, job });
}

/** The photo's blurred ground, made by the server, where it cannot be made here. */
async function giveBlurred({ key, blob }) {
  const entry = held.get(key);
  entry.parts.blurred = blob;
  reset(entry, {});
}

function reset(entry, values) {
  clearTimeout(entry.timer);
  Object.assign(entry, { whole: null, scaled: null, shown: new Map(), latest: null }, values);
}

function drop(key) {
  clearTimeout(held.get(key)?.timer);
  held.delete(key);
}

/** {source, cutout} of an item at full size, either null; forgotten when it was not used for a while. */
function whole(entry) {
  clearTimeout(entry.timer);
  entry.timer = setTimeout(() => Object.assign(entry, { whole: null, scaled: null }), KEEP_MS);
  return (entry.whole ??= decoded(entry));
}

async function decoded({ photo, parts: { alpha, edges, cut, blurred } }) {
  const source = photo && (photo.bitmap ? new Upright(photo.bitmap, 1, photo.isOpaque) : await uprightOf({ ...photo }));
  const [grey, colours, finished, ground] = await Promise.all([alpha, edges, cut, blurred].map((blob) => blob && bitmapOf(blob)));
  const picture = finished ? new Upright(finished, 1, false) : source;
  const cutout = (grey || finished) && new Cutout(picture, grey ? new Upright(grey) : null, colours ? edgesOf(colours) : null);
  if (ground) cutout.common.blurred = new Upright(ground);
  return { source, cutout };
}

/** The same with at most `side` pixels a side, which is kept as long as the item. */
async function small(entry, side) {
  if (!entry.shown.has(side)) {
    const { source, cutout } = await whole(entry);
    entry.shown.set(side, { source: source?.scaled(side), cutout: cutout?.scaled(side) });
  }
  return entry.shown.get(side);
}

/** The cut-out with the person's changes; the last one is kept, as it knows its subject and its mattes. */
function changed(entry, cutout, look, strokes) {
  const change = { ...look.edge, strokes };
  const sign = JSON.stringify([cutout.width, change]);
  if (entry.latest?.sign !== sign || entry.latest.from !== cutout) {
    entry.latest = { sign, from: cutout, cut: cutout.changed(change) };
  }
  return entry.latest.cut;
}

/**
 * Pictures for the screen: {size, box, before, after, below}, cropped to `box` of a picture of `size`. Each is null
 * where there is nothing: no photo, no cut-out, no background but one of a colour.
 */
async function preview({ key, look, strokes, side = SHOWN_SIDE }) {
  const entry = held.get(key);
  const { source, cutout } = await small(entry, side);
  const [width, height] = fit(cutout ?? source ?? { width: 1, height: 1 }, side);
  const all = { size: { width, height }, box: { left: 0, top: 0, width, height }, after: null, below: null };
  if (!cutout) return { ...all, before: source && part(source, all.size, all.box) };
  const cut = changed(entry, cutout, look, strokes);
  const box = boxOf(cut, look);
  const before = source && part(source, all.size, box);
  const after = bitmapOfCanvas(await drawn(composed(cut, PLAIN, box)));
  const below = belowPicture(cut, await withPicture(look), box);
  return { ...all, box, before, after, below: below && bitmapOfCanvas(below) };
}

/**
 * What is seen of a picture that is shown larger than `preview` has it: {region, before, after}, at about `side` pixels of
 * the whole picture's longer side. `seen`: {left, top, right, bottom} as shares of the box; null if there is no more to see.
 */
async function tile({ key, look, strokes, seen, side }) {
  const entry = held.get(key);
  const { source, cutout } = await whole(entry);
  const full = cutout ?? source;
  const most = full && Math.max(full.width, full.height);
  if (!full || most <= SHOWN_SIDE) return null;
  const scale = Math.min(most, TILE_SIDES.find((step) => step >= side) ?? most);
  if (entry.scaled?.scale !== scale) entry.scaled = { scale, source: source?.scaled(scale), cutout: cutout?.scaled(scale) };
  const { scaled } = entry;
  const size = { width: (scaled.cutout ?? scaled.source).width, height: (scaled.cutout ?? scaled.source).height };
  const cut = scaled.cutout?.changed({ ...look.edge, strokes });
  const box = cut ? boxWithin(await small(entry, SHOWN_SIDE), look, strokes, size) : { left: 0, top: 0, ...size };
  const region = partOf(box, seen);
  const after = cut && bitmapOfCanvas(await drawn(composed(cut, PLAIN, region)));
  return { seen: sharesOf(region, box), before: scaled.source && part(scaled.source, size, region), after };
}

/** The box that `preview` shows, in a picture of `size`. */
function boxWithin({ cutout }, look, strokes, size) {
  const box = boxOf(cutout.changed({ ...look.edge, strokes }), look);
  const [across, down] = [size.width / cutout.width, size.height / cutout.height];
  return { left: box.left * across, top: box.top * down, width: box.width * across, height: box.height * down };
}

/** Whole pixels of a box. */
function partOf({ left, top, width, height }, seen) {
  const [x, y] = [Math.floor(left + seen.left * width), Math.floor(top + seen.top * height)];
  return { left: x, top: y, width: Math.ceil(left + seen.right * width) - x, height: Math.ceil(top + seen.bottom * height) - y };
}

function sharesOf(region, { left, top, width, height }) {
  const [x, y] = [(region.left - left) / width, (region.top - top) / height];
  return { left: x, top: y, right: x + region.width / width, bottom: y + region.height / height };
}

/** The part `box` of a photo that is `width` x `height` on the screen. */
function part(source, { width, height }, box) {
  const [canvas, context] = canvasOf(box.width, box.height);
  source.draw(context, width, height, -box.left, -box.top);
  return bitmapOfCanvas(canvas);
}

const bitmapOfCanvas = (canvas) => canvas.transferToImageBitmap?.() ?? canvas;

/** The look with its picture decoded. */
async function withPicture(look) {
  if (look.background !== "picture") return look;
  const { id, file } = look.picture;
  if (!grounds.has(id)) grounds.set(id, await uprightOf({ file }));
  return { ...look, picture: grounds.get(id) };
}

/** A file of the cut-out: `kind` is one of TYPES, or `mask`. {blob, isSmaller}: it had to be made smaller. */
async function file({ key, look, strokes, kind }) {
  const entry = held.get(key);
  const cut = (await whole(entry)).cutout.changed({ ...look.edge, strokes });
  if (kind === "mask") return { blob: await maskOf(cut, look) };
  const asked = await withPicture(kind === "jpeg" && !look.background ? { ...look, background: "#ffffff" } : look);
  const made = (cutout) => encoded(composed(cutout, asked, boxOf(cutout, asked)), TYPES[kind]);
  return made(cut).then(
    (blob) => ({ blob, isSmaller: false }),
    async () => ({ blob: await made(cut.scaled(SAFE_SIDE)), isSmaller: true }),
  );
}

function maskOf(cut, look) {
  return pngOf(composed(cut, { ...PLAIN, isCropped: look.isCropped, margin: look.margin }, boxOf(cut, look)), 1);
}

/** The photo with boxes drawn on it, as a file. */
async function boxedFile({ key, boxes, colours, width, type }) {
  const { source } = await whole(held.get(key));
  return { blob: await written(boxed(source, boxes, new Map(colours), source.width / width), type) };
}

/** The CRC-32 of a file. */
async function crc({ blob }) {
  let value = ~0;
  for (let at = 0; at < blob.size; at += PIECE) value = crcOf(new Uint8Array(await blob.slice(at, at + PIECE).arrayBuffer()), value);
  return { crc: ~value >>> 0 };
}

export const calls = { open, give, giveBlurred, preview, tile, file, boxedFile, crc, shrunk };
