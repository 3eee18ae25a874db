/** The main element: drop zone, the current photo with its progress and result, the strip of all photos. */

import { ROOT } from "./api.js";
import { takeFiles } from "./intake.js";
import { add, restore, run, stop } from "./items.js";
import { bytes, drawStages, duration, sentence } from "./progress.js";
import { changed, gathered, isBusy, make, onChange, state, takesVolumes } from "./state.js";
import { drawStrip, listenForKeys } from "./strip.js";
import { t } from "./words.js";

const ACCEPT = "image/*,.jfif,.jpe,.mpo,.apng,.webp,.avif,.heic,.heif,.hif,.tif,.tiff,.bmp,.dib,.gif,.jxl";
const SAMPLES = {
  astronaut: ["An astronaut", "/examples/astronaut.jpg"],
  chelsea: ["A cat", "/examples/chelsea.jpg"],
  coffee: ["A cup of coffee", "/examples/coffee.jpg"],
  mask: ["A face with a drawn mask", "/static/samples/mask.jpg"],
};
const VOLUME_SAMPLES = { phantom: ["A phantom of a chest", "/static/samples/phantom.nii.gz"] };
const PHOTO_FORMATS = "JPEG, PNG, WebP, AVIF, HEIC, TIFF, BMP, GIF, JPEG XL";

const MARKUP = `<div>
  <label class="drop">
    <input type="file" multiple accept="${ACCEPT}" aria-label="Choose photos">
    <svg viewBox="0 0 48 48" aria-hidden="true"><rect x="5" y="9" width="38" height="30" rx="5"/><circle cx="16" cy="19" r="3.5"/><path d="m6 34 11-10 8 7 6-5 11 9"/></svg>
    <b></b>
    <span>or <u>choose them</u>, or paste one or its address</span>
    <small></small>
  </label>
  <p class="folder"><label>Add a folder<input type="file" webkitdirectory aria-label="Add a folder"></label>
    <label class="phone">Take a photo<input type="file" accept="image/*" capture="environment" aria-label="Take a photo"></label>
    <button type="button" data-do="camera">Use the camera</button><button type="button" data-do="address">Enter an address</button></p>
  <p class="samples"><span>No photo? Try one of these.</span></p>
  <section class="bench" hidden>
    <header><h2></h2><span class="facts"></span><span class="badge" hidden>from cache</span></header>
    <div class="viewer"></div><div class="volume" hidden></div>
    <div class="work" hidden><p class="sentence"></p><button type="button" data-do="stop">Stop</button></div>
    <div class="error" role="alert" hidden><p><b></b> <span></span> <a href="${ROOT}/login" target="_blank">Sign in</a></p><button type="button" data-do="retry">Try again</button></div>
    <p class="reloaded note">The page was reloaded, and there was no room to keep the photo: downloads have the size in which it was sent. Add it again for its full size.</p>
    <ol class="stages" aria-label="Stages"></ol>
    <details class="programs"><summary>For programs</summary></details>
  </section>
  <div class="all"></div>
  <ul class="strip" aria-label="Photos" hidden></ul>
  <p class="announcement" role="status"></p>
  <div class="overlay" hidden><b>Drop to start</b></div>
</div>`;

export function mountWorkbench(element, maxUploadMib, maxVolumeMib) {
  const root = element.querySelector(".pm-workbench");
  root.append(make(MARKUP));
  const find = (selector) => root.querySelector(selector);
  const announce = (text) => (find(".announcement").textContent = text);
  const loaded = {}; // of photos and of volumes, each with the first one
  const load = (kind) => import(kind === "volume" ? "./volume/viewer.js" : "./viewer.js").then(({ Viewer }) => new Viewer(find(`.${kind}`)));
  const viewer = async (kind) => {
    try {
      return await (loaded[kind] ??= load(kind));
    } catch (error) {
      loaded[kind] = null; // the next picture asks for it again
      throw error;
    }
  };

  takeFiles(root);
  const actions = {
    stop: () => stop(state.current),
    retry: () => run(state.current),
    camera: async () => (await import("./sources/camera.js")).open(),
    address: async () => (await import("./sources/address.js")).ask(),
  };
  root.addEventListener("click", ({ target }) => actions[target.closest("[data-do]")?.dataset.do]?.());

  const bench = drawBench(find, viewer, announce);
  const programs = drawPrograms(find(".programs"));
  restore();
  let tab; // of the browser: loaded with the first photo
  const drawTab = gathered(() => {
    if (state.items.length) tab ??= import("./batch/tab.js").then((module) => module.tab(find(".all")));
    tab?.then((draw) => draw());
  });
  let bar; // over many photos: loaded with the second one
  const drawBatch = gathered(() => {
    if (state.items.length > 1) bar ??= import("./batch/bar.js").then(({ batchBar }) => batchBar(find(".all")));
    bar?.then((draw) => draw());
    if (state.current?.phase === "pending") bench(state.current); // its place has changed
  });
  listenForKeys(find(".strip"));
  onChange((item) => {
    drawStrip(find(".strip"), item);
    drawBatch();
    drawTab();
    if (state.current && (!item || item === state.current)) bench(state.current);
    if (!item || item === state.current) programs();
    if (item) return;
    root.dataset.empty = !state.items.length;
    for (const selector of [".bench", ".strip"]) find(selector).hidden = !state.items.length;
    find(".samples").hidden = state.items.length > 0;
    drawIntake(find, maxUploadMib, maxVolumeMib);
    find(".drop span").hidden = state.items.length > 0;
  });
}

/** What the drop zone asks for: photos, or volumes where the chosen model takes those. */
function drawIntake(find, maxUploadMib, maxVolumeMib) {
  const isVolume = takesVolumes();
  const [first, more] = isVolume ? ["Drop a volume here", "Add volumes"] : ["Drop photos here", "Add photos"];
  find(".drop b").textContent = t(state.items.length ? more : first);
  const [folder, takes] = [find(".folder"), isVolume ? "volumes" : "photos"];
  if (folder.dataset.takes !== takes) offerSamples(find(".samples"), isVolume ? VOLUME_SAMPLES : SAMPLES);
  find(".samples span").textContent = t(isVolume ? "No volume? Try this one." : "No photo? Try one of these.");
  folder.dataset.takes = takes;
  find(".drop input").accept = isVolume ? "" : ACCEPT;
  const formats = isVolume ? t("A series as DICOM files or a zip of them, NIfTI, NRRD") : PHOTO_FORMATS;
  find(".drop small").textContent = formats + t(", up to {size} MiB", { size: isVolume ? maxVolumeMib : maxUploadMib });
}

function offerSamples(root, samples) {
  for (const button of root.querySelectorAll("button")) button.remove();
  for (const [name, [title, address]] of Object.entries(samples)) {
    const button = make(`<button type="button"><img alt="" width="76" height="58" src="${ROOT}/static/samples/${name}.webp"></button>`);
    button.setAttribute("aria-label", t("Try it with: {title}", { title: t(title) }));
    button.title = t(title);
    button.dataset.name = name;
    button.onclick = async () => {
      button.disabled = true; // one photo for a double click
      try {
        const answer = await fetch(ROOT + address);
        if (!answer.ok) return button.remove(); // an installation without the examples
        const blob = await answer.blob();
        add([new File([blob], address.split("/").pop(), { type: blob.type })]);
      } finally {
        button.disabled = false;
      }
    };
    root.append(button);
  }
}

/** Draws the current item; its picture only if the item or its result has changed. */
function drawBench(find, viewer, announce) {
  let shown = null;
  const picture = async (item) => {
    const done = item.phase === "done";
    if (!done && isRecognising(item)) return;
    const kind = isVolume(item) ? "volume" : "viewer";
    const key = done ? item.job : item.photo;
    if (key === shown) return;
    shown = key;
    try {
      const shows = await viewer(kind);
      await (done ? shows.showResult(item) : shows.showPhoto(item));
      if (done && !item.announced) announce(t("{name} is done.", item));
      item.announced ||= done;
    } catch (error) {
      if (!done) return; // its result is asked for later
      item.error = { message: t("The result cannot be shown: {reason}", { reason: error.message }) };
      changed(Object.assign(item, { phase: "failed" })); // else it would stand over another one's picture
    }
  };
  return (item) => {
    const { phase, error, job } = item;
    find("h2").textContent = item.name;
    find(".facts").textContent = factsOf(item);
    find(".badge").hidden = !(phase === "done" && job.cached);
    find(".bench").dataset.phase = phase;
    find(".reloaded").hidden = Boolean(item.photo.file) || !item.photo.variant || item.photo.variant === "original" || job?.result?.kind !== "matte";
    find(".viewer").hidden = isVolume(item) || (phase === "failed" && !item.photo.size && !item.thumb);
    if (!isVolume(item)) find(".volume").hidden = true;
    find(".work").hidden = !isBusy(item);
    find('[data-do="stop"]').disabled = phase === "cancelling";
    find(".sentence").textContent = sentence(item);
    find(".error").hidden = !["failed", "cancelled"].includes(phase);
    find(".error b").textContent = error?.message ?? t("Stopped.");
    find(".error span").textContent = error?.hint ?? "";
    find(".error a").hidden = error?.status !== 401;
    find(".stages").hidden = ["failed", "cancelled"].includes(phase);
    drawStages(find(".stages"), item);
    picture(item);
  };
}

/** Whether the photo may turn out to be one that was here before: its result comes at once then, and decoding it is for nothing. */
function isRecognising({ photo, phase }) {
  if (!photo.file) return false;
  return photo.sha256 === undefined ? ["pending", "hashing"].includes(phase) : photo.isKnown && phase === "hashing";
}

const isVolume = ({ photo, job }) => Boolean(photo.volumeType) || job?.result?.kind === "volume";

function factsOf({ photo, phase, sendMs, job, isRestored }) {
  const shape = photo.size ?? job?.result;
  const size = shape?.width && `${shape.width} × ${shape.height}`;
  if (phase !== "done" || isRestored) return size || "";
  const shrunk = photo.sent < photo.file?.size ? t("{size} shrunk, ", { size: bytes(photo.file.size) }) : "";
  const sent = photo.file && (photo.sent ? shrunk + t("{size} sent", { size: bytes(photo.sent) }) : t("nothing sent"));
  const total = sendMs + Object.values(job.cached ? {} : job.timings_ms).reduce((sum, ms) => sum + ms, 0);
  return [size, sent, photo.file && duration(total)].filter(Boolean).join(" · ");
}

/** `For programs`, loaded when it is first opened. */
function drawPrograms(root) {
  let panel;
  const draw = () => root.open && panel?.then((redraw) => redraw());
  root.addEventListener("toggle", () => {
    panel ??= import("./programs/panel.js").then((module) => module.panel(root));
    draw();
  });
  return draw;
}
