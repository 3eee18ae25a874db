/** The pictures of an item: the person's own file, and the objects of its job (asked for again when an address has expired). */

import { call } from "./api.js";

/** The person's own photo, upright, as a bitmap; after a reload only the small copy is left; null for what the browser cannot read. */
export async function original(item) {
  const bitmap = item.photo.file && (await readable(item.photo.file));
  return bitmap || (item.thumb ? readable(await (await fetch(item.thumb)).blob()) : null);
}

/** An object of the result as a Blob. */
export async function objectOf(item, name) {
  const get = async () => {
    const answer = await fetch(item.job.result.objects[name].url, { credentials: "omit" });
    if (!answer.ok) throw new Error(`${name}: ${answer.status}`);
    return answer.blob();
  };
  item.blobs ??= {};
  return (item.blobs[name] ??= await get().catch(async () => {
    item.job = await call("GET", `/jobs/${item.job.id}`);
    return get();
  }));
}

export const readable = (blob) => createImageBitmap(blob, { imageOrientation: "from-image" }).catch(() => null);

/** Hand a Blob to the person as a file. */
export function save(blob, name) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}
