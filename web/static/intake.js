/** How photos come to the page: chosen, dropped, pasted; of folders all that look like photos. Volumes too. */

import { add } from "./items.js";
import { takesVolumes } from "./state.js";

const PHOTO = /\.(jpe?g|jpe|jfif|mpo|a?png|webp|avif|hei[cf]|hif|tiff?|bmp|dib|gif|jxl)$/i;

/** Files of a series may have any name. */
const isPhoto = ({ name }) => (takesVolumes() || PHOTO.test(name)) && !name.startsWith(".");

/** Photos and folders can be dropped or pasted anywhere on the page, or chosen. */
export function takeFiles(root) {
  const overlay = root.querySelector(".overlay");
  const picker = root.querySelector(".drop input");
  const folder = root.querySelector("[webkitdirectory]");
  let isOurs = false; // what is dragged began on this page
  const hasPhotos = ({ dataTransfer }) => !isOurs && ["Files", "text/uri-list"].some((type) => dataTransfer?.types.includes(type));
  for (const input of [picker, root.querySelector("[capture]")]) {
    input.onchange = () => {
      add(input.files);
      input.value = "";
    };
  }
  document.addEventListener("dragstart", () => (isOurs = true));
  document.addEventListener("dragend", () => (isOurs = false));
  folder.onchange = () => {
    add([...folder.files].filter(isPhoto));
    folder.value = "";
  };
  let depth = 0; // the events come for every element below the pointer
  const over = (step) => (event) => {
    if (!hasPhotos(event)) return;
    event.preventDefault();
    depth = Math.max(0, depth + step);
    overlay.hidden = depth === 0;
  };
  document.addEventListener("dragenter", over(1));
  document.addEventListener("dragover", over(0));
  document.addEventListener("dragleave", over(-1));
  document.addEventListener("drop", (event) => {
    over(-depth)(event);
    if (!hasPhotos(event)) return;
    const { files } = event.dataTransfer;
    if (!files.length) return takeAddress(event.dataTransfer);
    const place = event.target.closest?.("[data-drop]"); // which wants a picture for itself
    if (place) place.dispatchEvent(new CustomEvent("pm-files", { detail: files }));
    else filesOf(event.dataTransfer).then(add);
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) add(event.clipboardData.files);
    else if (!event.target.closest?.("input, textarea, [contenteditable]")) takeAddress(event.clipboardData);
  });
}

/** A picture of another page: its address, as this page may not read it there. */
function takeAddress(data) {
  const texts = Object.fromEntries(["text/html", "text/uri-list", "text/plain"].map((type) => [type, data?.getData(type)])); // gone after the event
  import("./sources/address.js").then(({ addressIn, take }) => {
    const address = addressIn(texts);
    if (address) take(address);
  });
}

/** The files of what was dropped: those of folders in the order of their names, and every single file. */
async function filesOf({ items, files }) {
  const entries = [...items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean); // these are gone after the event
  if (!entries.some((entry) => entry.isDirectory)) return files;
  return (await Promise.all(entries.map((entry) => (entry.isDirectory ? photosIn(entry) : fileOf(entry).then((file) => [file]))))).flat();
}

async function photosIn(folder) {
  const reader = folder.createReader();
  const entries = [];
  for (let some; (some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject))).length; ) entries.push(...some);
  entries.sort((a, b) => a.name.localeCompare(b.name, undefined, { numeric: true }));
  const inside = entries.map((entry) => (entry.isDirectory ? photosIn(entry) : isPhoto(entry) ? fileOf(entry) : []));
  return (await Promise.all(inside)).flat();
}

const fileOf = (entry) => new Promise((resolve, reject) => entry.file(resolve, reject));
