/** Shows one result: before and after, backgrounds, zoom, boxes, labels, downloads. */

import { alphaOf, boxed, coloursOf, cutOut, encoded, fitted, percent } from "./compose.js";
import { objectOf, original, readable, save } from "./pictures.js";

const SHOWN_SIDE = 1600;
const MOST_ZOOM = 10;
const BACKGROUNDS = { Transparent: "", White: "#ffffff", Black: "#000000", Green: "#00b140" };

const MARKUP = `
<div class="stage" tabindex="0" role="group" aria-label="Result">
  <div class="frame">
    <div class="pan">
      <canvas class="before"></canvas>
      <div class="after"><canvas></canvas></div>
      <div class="boxes"></div>
    </div>
    <div class="split" role="slider" tabindex="0" aria-label="Border between before and after"
      aria-valuemin="0" aria-valuemax="100"><i></i></div>
    <span class="side side-before" aria-hidden="true">Before</span>
    <span class="side side-after" aria-hidden="true">After</span>
    <div class="zoom" role="group" aria-label="Zoom">
      <button type="button" data-act="out" aria-label="Zoom out">−</button>
      <button type="button" data-act="fit" aria-label="Fit to the window">100 %</button>
      <button type="button" data-act="in" aria-label="Zoom in">+</button>
    </div>
  </div>
</div>
<ol class="labels" aria-label="What the photo shows"></ol>
<div class="tools">
  <fieldset class="backgrounds"><legend>Background</legend>
    ${Object.entries(BACKGROUNDS)
      .map(
        ([name, colour], index) => `<label title="${name}"><input type="radio" name="pm-background" value="${colour}"
          ${index ? "" : "checked"}><i style="--swatch:${colour || "transparent"}"></i><span>${name}</span></label>`,
      )
      .join("")}
    <label class="own" title="Own colour"><input type="color" value="#f2b8a0" aria-label="Own background colour"></label>
  </fieldset>
  <label class="threshold">At least <input type="range" min="0" max="1" step="0.01" value="0.5"
    aria-label="Show boxes of at least this score"><output>50 %</output></label>
  <span class="counts" aria-live="polite"></span>
  <span class="downloads">
    <button type="button" data-act="copy">Copy</button>
    <button type="button" data-act="alpha">Mask</button>
    <button type="button" data-act="webp">WebP</button>
    <button type="button" data-act="json">JSON</button>
    <button type="button" data-act="png" class="primary">Download PNG</button>
  </span>
</div>`;

/** Fill `root`; returns {show(item)} which resolves when it is drawn, and {busy(item)} for a photo without a result. */
export function mountViewer(root, report) {
  root.innerHTML = MARKUP;
  const find = (selector) => root.querySelector(selector);
  const [stage, frame, pan, split] = [".stage", ".frame", ".pan", ".split"].map(find);
  const view = { zoom: 1, x: 0, y: 0, split: 0.5, background: "", threshold: 0.5 };
  let now = {}; // what is shown: {item, source, alpha, faces, colours}

  async function show(item) {
    const result = item.job.result;
    const picture = result.kind === "matte" ? await matte(item) : { source: await original(item) };
    if (now.item !== item || now.asked !== item.job.id) Object.assign(view, { zoom: 1, x: 0, y: 0, split: 0.5 });
    const faces = result.data?.faces ?? [];
    now = { item, asked: item.job.id, result, faces, colours: coloursOf(faces), ...picture };
    root.dataset.kind = result.kind;
    root.dataset.compare = Boolean(now.source && now.after);
    drawBefore(now.source ?? now.after, result);
    if (now.after) put(find(".after canvas"), now.after);
    find(".after").hidden = !now.after;
    find("[data-act=alpha]").hidden = !result.objects?.alpha;
    find("[data-act=copy]").hidden = !navigator.clipboard?.write || result.kind === "labels";
    drawBoxes();
    drawLabels(result.data?.labels ?? []);
    place();
    root.dataset.drawn = item.job.id;
  }

  async function busy(item) {
    const source = await original(item).catch(() => null);
    now = { item };
    Object.assign(view, { zoom: 1, x: 0, y: 0 });
    delete root.dataset.drawn;
    root.dataset.kind = "busy";
    find(".after").hidden = true;
    find(".boxes").replaceChildren();
    find(".labels").replaceChildren();
    drawBefore(source, item.photo.size);
    place();
  }

  async function matte(item) {
    const objects = item.job.result.objects;
    const source = await original(item);
    if (objects.alpha && source) {
      const alpha = alphaOf(await readable(await objectOf(item, "alpha")));
      const small = fitted(source, SHOWN_SIDE);
      return { source: small, alpha, after: cutOut(alpha, small) };
    }
    const name = ["preview", ...Object.keys(objects)].find((one) => objects[one]);
    const after = name && (await readable(await objectOf(item, name)));
    return { source: source && after ? fitted(source, SHOWN_SIDE) : source, after };
  }

  function drawBefore(picture, size) {
    const { width, height } = picture ?? size ?? { width: 4, height: 3 };
    frame.style.setProperty("--ratio", width / height);
    const canvas = find(".before");
    if (picture) put(canvas, fitted(picture, SHOWN_SIDE));
    canvas.style.visibility = picture ? "" : "hidden";
  }

  function drawBoxes() {
    const seen = now.faces.filter((one) => one.score >= view.threshold);
    const { width, height } = now.result;
    find(".boxes").replaceChildren(
      ...seen.map(({ box: [x1, y1, x2, y2], label, score }) => {
        const box = document.createElement("div");
        box.style.cssText = `left:${(100 * x1) / width}%;top:${(100 * y1) / height}%;width:${(100 * (x2 - x1)) / width}%;
          height:${(100 * (y2 - y1)) / height}%;--colour:${now.colours.get(label)}`;
        const text = document.createElement("span");
        text.textContent = `${label} ${percent(score)}`;
        box.append(text);
        return box;
      }),
    );
    const counts = [...now.colours.keys()].map((label) => `${seen.filter((one) => one.label === label).length} ${label}`);
    find(".counts").textContent = now.result.kind === "boxes" ? counts.join(", ") || "Nothing found" : "";
  }

  function drawLabels(labels) {
    find(".labels").replaceChildren(
      ...labels.map(({ label, score }) => {
        const row = document.createElement("li");
        const [name, bar, share] = ["span", "i", "b"].map((tag) => document.createElement(tag));
        name.textContent = label;
        share.textContent = percent(score);
        bar.style.setProperty("--share", score);
        row.append(name, bar, share);
        return row;
      }),
    );
  }

  /** Zoom, pan and border as CSS; the border stays where the person put it while the picture moves. */
  function place() {
    const { width, height } = frame.getBoundingClientRect();
    const keep = (offset, side) => Math.min(0, Math.max(side * (1 - view.zoom), offset));
    Object.assign(view, { x: keep(view.x, width), y: keep(view.y, height) });
    pan.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.zoom})`;
    const border = (view.split * width - view.x) / view.zoom;
    root.style.setProperty("--clip", `${root.dataset.compare === "true" ? border : 0}px`);
    root.style.setProperty("--split", `${view.split * 100}%`);
    root.style.setProperty("--unzoom", 1 / view.zoom);
    split.setAttribute("aria-valuenow", Math.round(view.split * 100));
    frame.classList.toggle("zoomed", view.zoom > 1);
    find("[data-act=fit]").textContent = `${Math.round(view.zoom * 100)} %`;
  }

  function zoom(factor, x, y) {
    const box = frame.getBoundingClientRect();
    const [px, py] = [x ?? box.width / 2, y ?? box.height / 2];
    const next = Math.min(MOST_ZOOM, Math.max(1, view.zoom * factor));
    view.x = px - ((px - view.x) * next) / view.zoom;
    view.y = py - ((py - view.y) * next) / view.zoom;
    view.zoom = next;
    place();
  }

  function moveSplit(share) {
    view.split = Math.min(1, Math.max(0, share));
    place();
  }

  const acts = {
    in: () => zoom(1.5),
    out: () => zoom(1 / 1.5),
    fit: () => zoom(0),
    png: () => download("image/png", "png"),
    webp: () => download("image/webp", "webp"),
    alpha: async () => save(await objectOf(now.item, "alpha"), fileName("mask", "png")),
    json: () => save(new Blob([JSON.stringify(now.item.job, null, 2)], { type: "application/json" }), fileName("result", "json")),
    copy: async () => {
      const picture = compose().then((canvas) => encoded(canvas, "image/png"));
      await navigator.clipboard.write([new ClipboardItem({ "image/png": picture })]);
      report("Copied.");
    },
  };

  /** The result at the full size of the person's own file; smaller where the browser cannot hold that. */
  async function compose(longest = Infinity) {
    const full = await original(now.item);
    if (now.result.kind === "boxes") return boxed(full, shownBoxes(), now.colours, full.width / now.result.width);
    if (!now.alpha) return cutOut(now.after, now.after, view.background);
    return cutOut(now.alpha, longest < Infinity ? fitted(full, longest) : full, view.background);
  }

  const shownBoxes = () => now.faces.filter((one) => one.score >= view.threshold);

  async function download(type, ending) {
    const blob = await encoded(await compose(), type).catch(async () => encoded(await compose(2048), type));
    save(blob, fileName(now.result.kind === "boxes" ? "boxes" : "cutout", ending));
  }

  const fileName = (what, ending) => `${now.item.name.replace(/\.\w+$/, "")}-${what}.${ending}`;

  function setBackground(colour) {
    view.background = colour;
    find(".after").style.background = colour;
  }

  root.addEventListener("click", (event) => {
    const act = event.target.closest("[data-act]")?.dataset.act;
    if (act) Promise.resolve(acts[act]()).catch((error) => report(`That did not work: ${error.message}`));
  });
  root.addEventListener("input", ({ target }) => {
    if (target.name === "pm-background") setBackground(target.value);
    if (target.type === "color") setBackground(target.value);
    if (target.type === "color") root.querySelectorAll("[name=pm-background]").forEach((one) => (one.checked = false));
    find("[type=color]").classList.toggle("chosen", !find("[name=pm-background]:checked"));
    if (target.type !== "range") return;
    view.threshold = Number(target.value);
    target.nextElementSibling.textContent = percent(view.threshold);
    drawBoxes();
  });
  stage.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || !now.result) return;
    const step = { ArrowLeft: -0.05, ArrowRight: 0.05, Home: -1, End: 1 }[event.key];
    const act = { "+": "in", "=": "in", "-": "out", 0: "fit", c: "copy", d: "png" }[event.key];
    if (step && event.target !== stage) moveSplit(view.split + step);
    else if (act) acts[act]();
    else return;
    event.preventDefault();
  });
  gestures(frame, { view, place, zoom, moveSplit });
  new ResizeObserver(place).observe(frame);
  return { show, busy };
}

function put(canvas, picture) {
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext("2d").drawImage(picture, 0, 0);
}

/** One finger or button moves the border (or the zoomed picture), two fingers or ctrl+wheel zoom. */
function gestures(frame, { view, place, zoom, moveSplit }) {
  const fingers = new Map();
  let dragging = "";
  let spread = 0;
  const local = (event) => {
    const box = frame.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top, width: box.width };
  };
  const distance = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y);

  frame.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button") || event.button) return;
    fingers.set(event.pointerId, local(event));
    frame.setPointerCapture(event.pointerId);
    dragging = view.zoom > 1 && !event.target.closest(".split") ? "picture" : "border";
    if (fingers.size === 2) spread = distance([...fingers.values()]);
    else if (dragging === "border") moveSplit(local(event).x / local(event).width);
  });
  frame.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const here = local(event);
    fingers.set(event.pointerId, here);
    if (fingers.size === 2) {
      const [a, b] = [...fingers.values()];
      zoom(distance([a, b]) / spread, (a.x + b.x) / 2, (a.y + b.y) / 2);
      spread = distance([a, b]);
    } else if (dragging === "border") moveSplit(here.x / here.width);
    else {
      view.x += here.x - last.x;
      view.y += here.y - last.y;
      place();
    }
  });
  const lift = (event) => fingers.delete(event.pointerId);
  frame.addEventListener("pointerup", lift);
  frame.addEventListener("pointercancel", lift);
  frame.addEventListener("dblclick", (event) => {
    if (event.target.closest("button")) return;
    zoom(view.zoom > 1 ? 0 : 2.5, local(event).x, local(event).y);
  });
  frame.addEventListener(
    "wheel",
    (event) => {
      if (!event.ctrlKey && !event.metaKey) return;
      event.preventDefault();
      zoom(Math.exp(-event.deltaY / 200), local(event).x, local(event).y);
    },
    { passive: false },
  );
}
