/** Takes a photo with the camera of this computer, in a dialog. */

import { add } from "../items.js";
import { written } from "../photo/pictures.js";
import { make } from "../state.js";
import { t, translated } from "../words.js";

const WANTED = { width: { ideal: 3840 }, height: { ideal: 2160 } };
const QUALITY = 0.95;
/** What to tell of an error's name, as browsers have their own words for each. */
const SENTENCES = {
  NotAllowedError: "The browser was not allowed to use the camera. Allow it for this page in the browser’s address bar, then try again.",
  NotFoundError: "There is no camera.",
  NotReadableError: "Another program is using the camera. Close that, then try again.",
  OverconstrainedError: "This camera is no longer there.",
};
const INSECURE = "Browsers give the camera to https addresses only. Whoever runs this server can set up https.";

const DIALOG = `<dialog class="pm-dialog camera" aria-label="Camera"><form method="dialog">
  <video autoplay muted playsinline></video>
  <p class="note" role="status">Waiting for the camera. Your browser may ask whether this page may use it.</p>
  <label class="devices" hidden>Camera <select></select></label>
  <p class="buttons"><button type="button" data-do="close">Close</button><button type="button" data-do="retry" hidden>Try again</button>
    <button type="button" data-do="take" class="primary" disabled>Take the photo</button></p>
</form></dialog>`;

/** Show the camera until the person closes the dialog; each photo that is taken goes to the page's photos. */
export function open() {
  const dialog = document.body.appendChild(translated(make(DIALOG)));
  new Camera(dialog).start();
  dialog.showModal();
}

class Camera {
  constructor(dialog) {
    this.dialog = dialog;
    this.find = (selector) => dialog.querySelector(selector);
    this.video = this.find("video");
    const acts = { close: () => dialog.close(), retry: () => this.start(), take: () => this.take() };
    dialog.addEventListener("click", ({ target }) => acts[target.dataset.do]?.());
    this.find("select").onchange = ({ target }) => this.start(target.value);
    dialog.onclose = () => {
      this.stop();
      dialog.remove();
    };
  }

  /** Show a camera: that with this id, else the browser's choice. */
  async start(deviceId) {
    this.stop();
    const number = (this.starts = (this.starts ?? 0) + 1);
    try {
      if (!navigator.mediaDevices) throw new Error(t(INSECURE));
      const video = { ...WANTED, ...(deviceId ? { deviceId: { exact: deviceId } } : {}) };
      const stream = await navigator.mediaDevices.getUserMedia({ video, audio: false });
      // The dialog was closed meanwhile, or another camera was chosen.
      if (!this.dialog.open || number !== this.starts) return stream.getTracks().forEach((track) => track.stop());
      this.stream = stream;
      this.video.srcObject = stream;
      await this.video.play();
      this.say("");
      await this.listDevices();
    } catch (error) {
      this.say(error.name in SENTENCES ? t(SENTENCES[error.name]) : error.message, true);
    }
  }

  say(sentence, isFailed = false) {
    this.find(".note").textContent = sentence;
    this.find("[data-do=take]").disabled = Boolean(sentence);
    this.find("[data-do=retry]").hidden = !isFailed;
    this.video.hidden = isFailed;
  }

  /** Browsers name the cameras once they have been allowed. */
  async listDevices() {
    const cameras = (await navigator.mediaDevices.enumerateDevices()).filter(({ kind }) => kind === "videoinput");
    const shown = this.stream.getVideoTracks()[0].getSettings().deviceId;
    const options = cameras.map(({ label, deviceId }, index) => new Option(label || t("Camera {number}", { number: index + 1 }), deviceId, false, deviceId === shown));
    this.find("select").replaceChildren(...options);
    this.find(".devices").hidden = cameras.length < 2;
  }

  async take() {
    this.find("[data-do=take]").disabled = true; // one photo for a double click
    const { videoWidth: width, videoHeight: height } = this.video;
    const canvas = Object.assign(document.createElement("canvas"), { width, height });
    canvas.getContext("2d").drawImage(this.video, 0, 0);
    const blob = await written(canvas, "image/jpeg", QUALITY);
    const time = new Date().toISOString().slice(0, 19).replaceAll(":", "-");
    this.dialog.close();
    await add([new File([blob], `camera-${time}.jpg`, { type: blob.type })]);
  }

  stop() {
    this.stream?.getTracks().forEach((track) => track.stop());
    this.stream = null;
  }
}
