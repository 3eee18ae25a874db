/** From an item to pictures: the person's own photo, the server's objects, and the cut-out made of both. */

import { call, follow } from "../api.js";
import { TURNED_HERE } from "../headers.js";
import { bitmapOf, fit, Upright, uprightOf } from "../photos.js";
import { submit } from "../upload.js";
import { Cutout, edgesOf } from "./cutout.js";

/** Notes of a result which say that the server has read the photo otherwise than browsers do. */
const READ_OTHERWISE = ["adobe_rgb_by_exif", "tone_mapped", "cut_short"];

/** The person's own photo; after a reload its small copy; null if the browser cannot read it. */
export async function original({ photo, thumb, job }) {
  if (photo.file) return uprightOf(turnedAsByServer(photo, job?.result));
  return thumb ? new Upright(await bitmapOf(await (await fetch(thumb)).blob()), 1, false) : null;
}

/** Where the server has turned the file otherwise than this page would, the page follows it. */
function turnedAsByServer(photo, result) {
  const { header, variant } = photo;
  const orientation = variant === "original" && TURNED_HERE.includes(header?.type) && result?.orientation;
  if (orientation && orientation !== header.orientation) {
    Object.assign(photo, { header: { ...header, orientation }, upright: null });
  }
  return photo;
}

/** A sentence if the photo as drawn here is not what the server had, so that nothing of it would fit; else "". */
export function misfitOf({ photo, job }, source) {
  const { width, height } = job.result;
  if (!photo.variant || !photo.file || !source || !width) return "";
  const shrunk = fit(source, Math.max(width, height));
  const slack = photo.variant === "original" ? 0 : 1; // a shrunk photo's shorter side was rounded
  if (Math.abs(shrunk[0] - width) <= slack && Math.abs(shrunk[1] - height) <= slack) return "";
  return (
    `This browser draws the photo at ${source.width} × ${source.height}, but the server read it as ` +
    `${width} × ${height}. What you see and download is the server's picture.`
  );
}

/** The photo as it may be shown beside the result: null where it does not fit. */
export async function fittingSource(item) {
  const source = await original(item).catch(() => null);
  const misfit = misfitOf(item, source);
  return { source: misfit ? null : source, misfit };
}

/** The cut-out that is shown: made here from the person's own photo, or else the server's preview; null without. */
export async function shownCutout(item, source) {
  if (canMakeHere(item, source)) return cutoutHere(item, source);
  const { objects = {} } = item.job.result;
  const name = objects.preview ? "preview" : Object.keys(objects)[0];
  return name ? new Cutout(new Upright(await readable(item, name), 1, false), null, null) : null;
}

/** The cut-out at the photo's full size, for downloads; at least at the size that the server has. */
export async function fullCutout(item) {
  const { source } = await fittingSource(item);
  if (canMakeHere(item, source)) return cutoutHere(item, source);
  if (!item.job.result.objects.alpha) return shownCutout(item, source);
  const picture = await createdPicture(item, {}, "cutout-png");
  return new Cutout(new Upright(await bitmapOf(picture), 1, false), null, null);
}

function canMakeHere({ photo, job }, source) {
  const { objects = {}, notes = [] } = job.result;
  const isReadOtherwise = notes.some(({ code }) => READ_OTHERWISE.includes(code));
  return Boolean(photo.file && source && objects.alpha && !isReadOtherwise);
}

async function cutoutHere(item, source) {
  const hasEdges = item.job.result.objects.edge_colours;
  const [alpha, edges] = await Promise.all([readable(item, "alpha"), hasEdges && readable(item, "edge_colours")]);
  return new Cutout(source, new Upright(alpha), edges ? edgesOf(edges) : null);
}

const readable = async (item, name) => bitmapOf(await objectOf(item, name));

/** An object of the result as a Blob. */
export async function objectOf(item, name) {
  item.blobs ??= {};
  return (item.blobs[name] ??= await fetched(item.job, name).catch(async () => {
    // Its signed URL may have expired; the job has a new one.
    item.job = await call("GET", `/jobs/${item.job.id}`);
    return fetched(item.job, name);
  }));
}

async function fetched(job, name) {
  const response = await fetch(job.result.objects[name].url, { credentials: "omit" });
  if (!response.ok) throw new Error(`${name}: ${response.status}`);
  return response.blob();
}

/**
 * A picture that the server makes: `output` under the run's and these parameters. If it `isFile`, a person gets it:
 * then it is made of the original, if there is one and the server takes it, and else of what was sent.
 */
export async function createdPicture(item, params, output, isFile = false) {
  const key = JSON.stringify([output, params, isFile]);
  item.blobs ??= {};
  if (item.blobs[key]) return item.blobs[key];
  const request = { model: item.request.model, params: { ...item.request.params, ...params }, output: [output] };
  const { photo } = item;
  const full = isFile && photo.file && photo.variant !== "original" && photo.header.type && { ...photo, upload: null, sendOriginal: true };
  const asSent = (error) => (error?.isTransient ? Promise.reject(error) : ended(item, photo, request));
  const job = await (full ? ended(item, full, request).catch(asSent) : asSent());
  if (job.state !== "done") throw new Error("it was stopped");
  return (item.blobs[key] = await fetched(job, output.split("-")[0]));
}

async function ended({ controller: { signal } }, photo, request) {
  const options = { sendOriginal: photo.sendOriginal, signal, onPhase: () => {} };
  return follow(await submit(photo, request, options), () => {}, signal);
}
