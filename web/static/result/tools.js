/** The tools below a result: background, crop, formats. What is chosen stays for the next photo. */

import { canvasOf, uprightOf } from "../photos.js";
import { percent } from "../pictures.js";
import { cover, PLAIN } from "./compose.js";

const SWATCHES = { Transparent: "", White: "#ffffff", Black: "#000000", Green: "#00b140", Blurred: "blur", "Own picture": "picture" };
const PICTURES = "image/*,.avif,.webp,.jfif,.jpe,.bmp,.gif";

const swatch = ([name, value], index) => `<label title="${name}" data-ground="${value}">
  <input type="radio" name="pm-background" value="${value}" ${index ? "" : "checked"}>
  <i style="--swatch:${value.startsWith("#") ? value : "transparent"}"></i><span>${name}</span></label>`;

export const TOOLS = `
<div class="tools">
  <fieldset class="backgrounds" data-drop><legend>Background</legend>
    ${Object.entries(SWATCHES).map(swatch).join("")}
    <label class="own" title="Own colour"><input type="color" value="#f2b8a0" aria-label="Own background colour"></label>
    <label class="own file" title="Choose a picture for the background">
      <input type="file" accept="${PICTURES}" aria-label="Choose a picture for the background"><i>+</i></label>
  </fieldset>
  <fieldset class="crop"><legend>Crop</legend>
    <label><input type="checkbox"> To subject</label>
    <label class="margin" hidden>Margin <input type="range" min="0" max="0.5" step="0.01" value="${PLAIN.margin}"><output></output></label>
  </fieldset>
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

/** Calls `onLook(look)` after each change of background and crop, `onThreshold(share)` after one of the score. */
export class Tools {
  constructor(root, { onLook, onThreshold, say }) {
    Object.assign(this, { root, onLook, say, look: { ...PLAIN } });
    this.find = (selector) => root.querySelector(selector);
    this.find(".backgrounds").addEventListener("input", ({ target }) => this.setBackground(target));
    this.find(".backgrounds").addEventListener("pm-files", ({ detail }) => this.takePicture(detail[0]));
    this.find(".crop").addEventListener("input", () => this.setCrop());
    this.find(".threshold").addEventListener("input", ({ target }) => {
      this.find(".threshold output").textContent = percent(Number(target.value));
      onThreshold(Number(target.value));
    });
    this.find("[data-ground=picture]").hidden = true;
    this.setCrop();
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
    const picture = await uprightOf({ file });
    if (!picture) return this.say(`${file.name} cannot be read as a picture by this browser.`);
    const label = this.find("[data-ground=picture]");
    const [canvas, context] = canvasOf(52, 52);
    cover(context, picture, canvas);
    label.querySelector("i").style.setProperty("--picture", `url(${canvas.toDataURL()})`);
    label.hidden = false;
    label.querySelector("input").checked = true;
    this.find(".own").classList.remove("chosen");
    this.change({ background: "picture", picture, file });
  }

  setCrop() {
    const [isCropped, margin] = [this.find("[type=checkbox]").checked, Number(this.find(".margin input").value)];
    this.find(".margin").hidden = !isCropped;
    this.find(".margin output").textContent = percent(margin);
    this.change({ isCropped, margin });
  }

  change(part) {
    this.look = { ...this.look, ...part };
    this.onLook(this.look);
  }
}
