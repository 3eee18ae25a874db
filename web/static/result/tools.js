/** The tools below a result: background, crop, edge, shadow, formats. What is chosen stays for the next photo. */

import { canvasOf, uprightOf } from "../photo/photos.js";
import { percent } from "../numbers.js";
import { t } from "../words.js";
import { place, PLAIN } from "./compose.js";

const SWATCHES = [
  ["Transparent", ""],
  ["White", "#ffffff"],
  ["Black", "#000000"],
  ["Green", "#00b140"],
  ["Blurred", "blur"],
  ["Own picture", "picture"],
];
const PICTURES = "image/*,.avif,.webp,.jfif,.jpe,.bmp,.gif";

const swatch = ([name, value], index) => `<label title="${name}" data-ground="${value}">
  <input type="radio" name="pm-background" value="${value}" ${index ? "" : "checked"}>
  <i style="--swatch:${value.startsWith("#") ? value : "transparent"}"></i><span>${name}</span></label>`;

/** Sliders by the part of the look that they set: [name, least, what its output says]. */
const SLIDERS = {
  margin: ["Margin", 0, percent],
  "edge.softness": ["Softness", -1, signed],
  "edge.shift": ["Shift", -1, signed],
  "shadow.strength": ["Strength", 0, percent],
  "shadow.softness": ["Blur", 0, percent],
  "shadow.distance": ["Distance", 0, percent],
};

const slider = (path) => `<label data-slider="${path}">${SLIDERS[path][0]}
  <input type="range" data-look="${path}" min="${SLIDERS[path][1]}" max="${path === "margin" ? 0.5 : 1}" step="0.01"><output></output></label>`;

export const TOOLS = `
<div class="tools">
  <fieldset class="backgrounds" data-drop><legend>Background</legend>
    ${SWATCHES.map(swatch).join("")}
    <label class="own" title="Own colour"><input type="color" value="#f2b8a0" aria-label="Own background colour"></label>
    <label class="own file" title="Choose a picture for the background">
      <input type="file" accept="${PICTURES}" aria-label="Choose a picture for the background"><i>+</i></label>
  </fieldset>
  <fieldset class="placing" hidden><legend>Picture</legend>
    <button type="button" data-tool="fit" aria-pressed="false">Show all of it</button>
    <button type="button" data-tool="move" aria-pressed="false">Move it</button>
  </fieldset>
  <fieldset class="crop"><legend>Crop</legend>
    <label><input type="checkbox"> To subject</label>
    ${slider("margin")}
  </fieldset>
  <button type="button" data-tool="brush" aria-pressed="false">Brush</button>
  <button type="button" data-tool="pick" aria-pressed="false">Choose subject</button>
  <details class="finish"><summary>Edge and shadow</summary>
    <fieldset><legend>Edge</legend>${slider("edge.softness")}${slider("edge.shift")}</fieldset>
    <fieldset><legend>Shadow</legend>${slider("shadow.strength")}${slider("shadow.softness")}${slider("shadow.distance")}</fieldset>
    <button type="button" data-tool="reset">Reset edge and shadow</button>
  </details>
  <label class="threshold">Score at least <input type="range" min="0" max="1" step="0.01" value="0.5"><output>50 %</output></label>
  <span class="counts" role="status"></span>
  <span class="downloads">
    <button type="button" data-act="copy">Copy</button>
    <button type="button" data-act="mask">Mask</button>
    <button type="button" data-act="webp">WebP</button>
    <button type="button" data-act="jpeg">JPEG</button>
    <button type="button" data-act="avif">AVIF</button>
    <button type="button" data-act="json">JSON</button>
    <button type="button" data-act="png" class="primary">Download PNG</button>
  </span>
</div>`;

function signed(share) {
  return share ? `${share > 0 ? "+" : "−"}${Math.round(Math.abs(share) * 100)}` : "0";
}

let pictures = 0;

/**
 * Calls `onLook(look)` after each change of how cut-outs look, `onThreshold(share)` after one of the score, and
 * `onTool(name, isOn)` when one of the tools that work on the picture is switched.
 */
export class Tools {
  constructor(root, { onLook, onThreshold, onTool, say }) {
    Object.assign(this, { root, onLook, onTool, say, look: { ...PLAIN } });
    this.find = (selector) => root.querySelector(selector);
    this.find(".backgrounds").addEventListener("input", ({ target }) => this.setBackground(target));
    this.find(".backgrounds").addEventListener("pm-files", ({ detail }) => this.takePicture(detail[0]));
    this.find(".crop [type=checkbox]").addEventListener("input", ({ target }) => this.change({ isCropped: target.checked }));
    root.addEventListener("input", ({ target }) => target.dataset.look && this.slide(target.dataset.look, Number(target.value)));
    root.addEventListener("click", ({ target }) => this.press(target.closest("[data-tool]")));
    this.find(".threshold").addEventListener("input", ({ target }) => {
      this.find(".threshold output").textContent = percent(Number(target.value));
      onThreshold(Number(target.value));
    });
    this.find("[data-ground=picture]").hidden = true;
    this.draw();
  }

  setBackground({ type, value, files }) {
    if (type === "file") return files.length && this.takePicture(files[0]);
    this.find(".own").classList.toggle("chosen", type === "color");
    if (type === "color") this.root.querySelectorAll("[name=pm-background]").forEach((radio) => (radio.checked = false));
    this.change({ background: value });
  }

  /** A picture of the person's own as the background; it is sent only if the server has to write the file. */
  async takePicture(file) {
    this.find("[type=file]").value = "";
    this.taken = file;
    const picture = await uprightOf({ file });
    if (this.taken !== file) return; // another one was chosen meanwhile
    if (!picture) return this.say(t("{name} cannot be read as a picture by this browser.", { name: file.name }));
    const label = this.find("[data-ground=picture]");
    const [canvas, context] = canvasOf(52, 52);
    place(context, picture, PLAIN, canvas);
    label.querySelector("i").style.setProperty("--picture", `url(${canvas.toDataURL()})`);
    label.hidden = false;
    label.querySelector("input").checked = true;
    this.find(".own").classList.remove("chosen");
    const { width, height } = picture;
    this.change({ background: "picture", picture: { id: ++pictures, file, width, height }, at: PLAIN.at });
  }

  /** Set a part of the look: `margin`, or one such as `edge.shift`. */
  slide(path, value) {
    const [group, name] = path.split(".");
    this.change(name ? { [group]: { ...this.look[group], [name]: value } } : { [group]: value });
  }

  press(button) {
    const name = button?.dataset.tool;
    if (name === "reset") this.change({ edge: PLAIN.edge, shadow: PLAIN.shadow });
    else if (name === "fit") this.change({ fit: this.look.fit === "cover" ? "contain" : "cover", at: PLAIN.at });
    else if (name) this.use(name, button.getAttribute("aria-pressed") !== "true");
  }

  /** Switch the brush, the choice of the subject or the moving of the background; only one is on. */
  use(name, isOn) {
    for (const button of this.root.querySelectorAll("[data-tool=brush], [data-tool=pick], [data-tool=move]")) {
      button.setAttribute("aria-pressed", isOn && button.dataset.tool === name);
    }
    this.onTool(isOn ? name : null);
  }

  change(part) {
    this.look = { ...this.look, ...part };
    this.draw();
    this.onLook(this.look);
  }

  draw() {
    const { look } = this;
    for (const [path, [, , say]] of Object.entries(SLIDERS)) {
      const value = path.split(".").reduce((part, name) => part[name], look);
      const label = this.find(`[data-slider="${path}"]`);
      label.querySelector("input").value = value;
      label.querySelector("output").textContent = say(value);
    }
    this.find("[data-slider=margin]").hidden = !look.isCropped;
    for (const name of ["softness", "distance"]) this.find(`[data-slider="shadow.${name}"]`).hidden = !look.shadow.strength;
    this.find(".placing").hidden = look.background !== "picture";
    this.find("[data-tool=fit]").setAttribute("aria-pressed", look.fit === "contain");
    if (look.background !== "picture" && this.find("[data-tool=move]").getAttribute("aria-pressed") === "true") this.use("move", false);
  }
}

/** Moves the picture in the background by drag and by the arrow keys. */
export class Mover {
  /** `boxOf()`: {width, height} of the result; `position` of it in its frame. */
  constructor(tools, position, boxOf) {
    Object.assign(this, { tools, position, boxOf });
  }

  down(point) {
    this.last = point;
  }

  move(...points) {
    const point = points.at(-1);
    this.moveBy(point.x - this.last.x, point.y - this.last.y);
    this.last = point;
  }

  up() {}

  cancel() {}

  /** Whether a key was an arrow. */
  key({ key, target }) {
    const step = { ArrowLeft: [-8, 0], ArrowRight: [8, 0], ArrowUp: [0, -8], ArrowDown: [0, 8] }[key];
    if (!step || !target.matches(".stage")) return false;
    this.moveBy(...step);
    return true;
  }

  /** Move by pixels of the screen. */
  moveBy(x, y) {
    const { picture, fit, at } = this.tools.look;
    const { width, height } = this.boxOf();
    const scales = [width / picture.width, height / picture.height];
    const scale = fit === "contain" ? Math.min(...scales) : Math.max(...scales);
    const unit = width / (this.position.frame.clientWidth * this.position.zoom);
    const moved = (share, by, room) => (Math.abs(room) < 1 ? share : Math.min(1, Math.max(0, share + (by * unit) / room)));
    this.tools.change({
      at: { x: moved(at.x, x, width - picture.width * scale), y: moved(at.y, y, height - picture.height * scale) },
    });
  }
}
