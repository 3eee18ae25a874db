/** All finished photos as one zip: their files are made a few at a time, and written as they are ready. */

import { save } from "../photo/pictures.js";
import { state } from "../state.js";
import { coloursOf } from "../result/boxes.js";
import { PLAIN } from "../result/compose.js";
import { blobOf, boxedBlobOf, nameOf } from "../result/downloads.js";
import { Renderer } from "../result/renderer.js";
import { openResult } from "../result/sources.js";
import { newSink, sweep, Zip } from "./zip.js";

const MOST_AT_ONCE = 3; // each has a decoded photo in memory
const KEEP_MS = 3_600_000; // for which the archive stays, as a browser may take long to copy it

/**
 * Make a zip of the items' files of `kind` and download it. Calls `onProgress(done, count)`. Resolves with the names of
 * the photos whose files could not be made; rejects when `signal` aborts.
 */
export async function downloadAll(items, kind, { signal, onProgress }) {
  await sweep();
  const sink = await newSink();
  const renderers = Array.from({ length: workersFor(items.length) }, () => new Renderer());
  const failed = [];
  try {
    const zip = new Zip(sink);
    const waiting = [...items];
    let [done, writing] = [0, Promise.resolve()];
    const work = async (renderer) => {
      for (let item = waiting.shift(); item; item = waiting.shift()) {
        signal.throwIfAborted();
        const made = await fileOf(renderer, item, kind).catch(() => void failed.push(item.name));
        if (made) await (writing = writing.then(() => zip.add(made.name, made.blob, made.crc)));
        onProgress(++done, items.length);
      }
    };
    await Promise.all(renderers.map(work));
    signal.throwIfAborted();
    if (failed.length < items.length) save(await zip.finish(), "pixelmill.zip", KEEP_MS);
  } catch (error) {
    await sink.remove();
    throw error;
  } finally {
    renderers.forEach((renderer) => renderer.end());
  }
  return failed;
}

const workersFor = (count) => Math.min(MOST_AT_ONCE, count, Math.max(1, (navigator.hardwareConcurrency ?? 2) - 1));

async function fileOf(renderer, item, kind) {
  const blob = await resultOf(renderer, item, kind);
  const { crc } = await renderer.call("crc", { blob });
  item.blobs = {}; // the server has them still
  return { name: nameOf(item, kind, blob), blob, crc };
}

/** The file that a press of the button `kind` of this photo would download. */
async function resultOf(renderer, item, kind) {
  const { result } = item.job;
  const opened = await openResult(renderer, item);
  const boxes = result.data?.faces ?? [];
  if (result.kind === "boxes" && opened.size) {
    return boxedBlobOf(renderer, opened, { result, boxes, colours: coloursOf(boxes) }, kind);
  }
  if (!opened.hasCutout) return new Blob([JSON.stringify(item.job, null, 2)], { type: "application/json" });
  return blobOf(renderer, { item, opened, look: state.look ?? PLAIN, strokes: item.strokes ?? [] }, kind, () => {});
}
