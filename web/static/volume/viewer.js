/** Shows a volume's result: slices through a window, regions over them, their sizes, downloads. */

import { ROOT } from "../api.js";
import { isFree } from "../keys.js";
import { changed, make, modelNamed } from "../state.js";
import { number } from "../numbers.js";
import { t, translated } from "../words.js";
import { drawn, fullest, load, LOOKS, middles, SCALE } from "./slices.js";

const WINDOWS = { lung: [-600, 1500, "Lung"], mediastinum: [40, 400, "Mediastinum"], bone: [400, 1800, "Bone"] }; // HU: level, width
const FILES = { mask: "Mask", preview: "Overview", seg: "Mask as DICOM SEG" };
const STEPS = { ArrowUp: 1, ArrowDown: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };

const MARKUP = `<div class="slices">
  <figure><canvas></canvas><b class="side" data-side="left"></b><b class="side" data-side="right"></b><div class="names" aria-hidden="true"></div></figure>
  <p class="reading" role="status">Reading the slices</p>
  <div class="controls" hidden>
    <label><span>Slice</span><input type="range" min="1" name="slice" aria-label="Slice"><output></output></label>
    <fieldset class="windows"><legend>Window</legend></fieldset>
    <label><span>Overlay</span><input type="range" min="0" max="100" value="60" name="overlay" aria-label="Overlay"><output></output></label>
  </div>
  <table hidden><caption>Regions</caption><thead><tr><th scope="col">Region</th><th scope="col">Volume</th></tr></thead><tbody></tbody></table>
  <ul class="notes"></ul>
  <p class="files"></p>
  <p class="use"></p>
</div>`;

/** A viewer in `root`; its style sheet comes with it. */
export class Viewer {
  constructor(root) {
    document.head.append(make(`<link rel="stylesheet" href="${ROOT}/static/volume/volume.css">`));
    this.root = root;
    root.innerHTML = MARKUP;
    translated(root);
    this.find("[data-side=left]").textContent = t("R");
    this.find("[data-side=right]").textContent = t("L");
    this.window = "lung";
    for (const [name, [, , title]] of Object.entries(WINDOWS)) {
      const choice = make(`<label><input type="radio" name="pm-window" value="${name}"><span></span></label>`);
      choice.querySelector("span").textContent = t(title);
      choice.querySelector("input").checked = name === this.window;
      this.find(".windows").append(choice);
    }
    this.listen();
  }

  find(selector) {
    return this.root.querySelector(selector);
  }

  /** A volume on its way has nothing to show yet. */
  showPhoto() {
    this.job = this.volume = null;
    this.root.hidden = true;
  }

  /** Show the result of an item's job. */
  async showResult(item) {
    const { job } = item;
    const { result } = job;
    this.job = job;
    this.volume = null;
    this.root.hidden = false;
    this.find(".controls").hidden = true;
    this.find("figure").hidden = true;
    this.drawTexts(item);
    if (result.thumbnail && item.photo.volumeType && !item.thumb) {
      item.thumb = result.thumbnail.url;
      changed(item);
    }
    const reading = this.find(".reading");
    reading.hidden = !result.objects.slices;
    if (!result.objects.slices) return;
    const volume = await load(result.objects.slices.url).finally(() => (reading.hidden ||= this.job === job));
    if (this.job !== job) return;
    this.open(volume, result);
  }

  open(volume, { data }) {
    const [depth, height, width] = volume.shape;
    this.volume = volume;
    this.regions = data.regions ?? [];
    this.looks = new Map(this.regions.map(({ value }, index) => [value, index]));
    const slice = this.find("[name=slice]");
    slice.max = depth;
    slice.value = fullest(volume) + 1;
    const canvas = this.find("canvas");
    Object.assign(canvas, { width: width * SCALE, height: height * SCALE });
    const [, y, x] = volume.spacing;
    canvas.style.aspectRatio = `${width * (x || 1)} / ${height * (y || 1)}`;
    this.find(".windows").hidden = !volume.isHu;
    this.find(".controls").hidden = false;
    this.find("figure").hidden = false;
    this.draw();
  }

  draw() {
    if (!this.volume) return;
    const slice = Number(this.find("[name=slice]").value);
    const overlay = Number(this.find("[name=overlay]").value);
    const { hu, isHu, shape } = this.volume;
    const [level, width] = isHu ? WINDOWS[this.window] : [(hu[0] + hu.at(-1)) / 2, hu.at(-1) - hu[0]];
    const image = drawn(this.volume, slice - 1, { level, width, opacity: overlay / 100, looks: this.looks });
    const canvas = this.find("canvas");
    canvas.getContext("2d").putImageData(image, 0, 0);
    const place = t("Slice {done} of {total}", { done: slice, total: shape[0] });
    canvas.setAttribute("role", "img");
    canvas.setAttribute("aria-label", place);
    this.find("[name=slice] + output").textContent = `${slice} / ${shape[0]}`;
    this.find("[name=slice]").setAttribute("aria-valuetext", place);
    this.find("[name=overlay] + output").textContent = `${overlay} %`;
    this.drawNames(slice - 1, overlay);
  }

  /** The names of the regions, each in its middle: nobody has to know them by their colours. */
  drawNames(z, overlay) {
    const names = overlay ? middles(this.volume, z) : [];
    this.find(".names").replaceChildren(
      ...names.map(([value, x, y]) => {
        const name = document.createElement("b");
        name.textContent = t(this.regions[this.looks.get(value)]?.label ?? `${value}`);
        Object.assign(name.style, { left: `${100 * x}%`, top: `${100 * y}%` });
        return name;
      }),
    );
  }

  drawTexts({ job, name }) {
    const { data, notes, objects } = job.result;
    const regions = data.regions ?? [];
    const known = regions.filter(({ ml }) => ml != null);
    this.find("table").hidden = !regions.length;
    const rows = regions.map(({ label, ml }, index) => rowOf(t(label), ml, LOOKS[index % LOOKS.length]));
    if (known.length > 1) rows.push(rowOf(t("Together"), known.reduce((sum, { ml }) => sum + ml, 0)));
    this.find("tbody").replaceChildren(...rows);
    this.find(".notes").replaceChildren(...notes.map(({ message }) => textOf("li", t(message))));
    const stem = name.replace(/\.(zip|nii|nii\.gz|nrrd|dcm)$/i, "");
    const files = Object.entries(objects).filter(([key]) => key !== "slices");
    this.find(".files").replaceChildren(...files.map(([key, { url }]) => linkOf(key, url, stem)));
    this.find(".use").textContent = t(modelNamed(job.model)?.intended_use ?? "");
  }

  listen() {
    this.root.addEventListener("input", ({ target }) => {
      if (target.name === "pm-window") this.window = target.value;
      this.draw();
    });
    this.find("figure").addEventListener(
      "wheel",
      (event) => {
        event.preventDefault();
        this.move(-Math.sign(event.deltaY));
      },
      { passive: false },
    );
    document.addEventListener("keydown", (event) => {
      const isOnSlider = event.target.type === "range" && this.root.contains(event.target) && !(event.key in STEPS); // which has those
      if (!this.volume || this.root.hidden || !(isFree(event) || isOnSlider)) return;
      const window = Object.keys(WINDOWS)[Number(event.key) - 1];
      if (event.key in STEPS) this.move(STEPS[event.key]);
      else if (window && this.volume.isHu) this.find(`[value=${window}]`).click();
      else return;
      event.preventDefault();
    });
  }

  move(step) {
    const slice = this.find("[name=slice]");
    slice.value = Math.max(1, Math.min(Number(slice.max), Number(slice.value) + step));
    this.draw();
  }
}

function rowOf(label, ml, look) {
  const [row, head] = [document.createElement("tr"), textOf("th", label)];
  head.scope = "row";
  if (look) {
    const swatch = document.createElement("i");
    swatch.style.background = patternOf(look);
    head.prepend(swatch);
  }
  row.append(head, textOf("td", ml == null ? t("unknown") : t("{count} ml", { count: number(ml) })));
  return row;
}

/** The look of a region as a background. */
function patternOf({ colour, css }) {
  const [full, weak] = [1, 0.35].map((alpha) => `rgb(${colour.join(" ")} / ${alpha})`);
  return `repeating-linear-gradient(${css}, ${full} 0 3px, ${weak} 3px 7px) #333`;
}

function textOf(tag, text) {
  const element = document.createElement(tag);
  element.textContent = text;
  return element;
}

/** A link that saves an object under the name of the person's own file. */
function linkOf(key, url, stem) {
  const link = textOf("a", t(FILES[key] ?? key));
  link.href = url;
  link.className = "file";
  const file = new URL(url, location.href).pathname.split("/").pop();
  link.download = `${stem}-${file}`;
  return link;
}
