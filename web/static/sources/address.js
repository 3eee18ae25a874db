/** Photos at an address: the server asks there, where it is allowed to, as a browser may not read other sites. */

import { call, retry } from "../api.js";
import { add, addAddress } from "../items.js";
import { submit as submitPhoto } from "../photo/upload.js";
import { make } from "../state.js";
import { translated } from "../words.js";

const ADDRESS = /^https?:\/\/\S+$/i;

/** As upload.js' `submit`, for a photo that has an address instead of a file. What the server has fetched is not fetched again. */
export async function submit(photo, request, options) {
  if (photo.upload) return submitPhoto(photo, request, options);
  const { signal, onPhase } = options;
  const { model, params, output } = request; // the server calls it as the address does
  onPhase("fetching");
  const body = { url: photo.address, params, wait: 0, ...(output && { output }) };
  const onWait = (seconds, error) => onPhase("retrying", { seconds, error });
  const job = await retry(() => call("POST", `/predict/${model}`, body, signal), signal, onWait);
  photo.upload = job.upload;
  return job;
}

/** The address of a picture in texts by their type; null if there is none. */
export function addressIn(texts) {
  const html = new DOMParser().parseFromString(texts["text/html"] ?? "", "text/html");
  const found = [html.querySelector("img")?.getAttribute("src"), texts["text/uri-list"]?.split("\n").find((line) => line[0] !== "#"), texts["text/plain"]];
  return found.map((text) => text?.trim()).find((text) => text && (ADDRESS.test(text) || text.startsWith("data:image/"))) ?? null;
}

/** Take what was dropped or pasted, if it is the address of a picture. */
export async function take(address) {
  if (!address.startsWith("data:")) return addAddress(address);
  const blob = await (await fetch(address)).blob();
  return add([new File([blob], `picture.${blob.type.split("/")[1]}`, { type: blob.type })]);
}

const DIALOG = `<dialog class="pm-dialog" aria-label="A photo at an address"><form method="dialog">
  <label>Address of a picture <input type="url" name="address" required placeholder="https://example.com/photo.jpg" pattern="https?://.+"></label>
  <p class="note">The server gets it there, without your cookies. You can also paste an address anywhere on the page.</p>
  <p class="buttons"><button type="button" value="cancel">Cancel</button><button class="primary">Take it</button></p>
</form></dialog>`;

/** Ask for an address. */
export function ask() {
  const dialog = document.body.appendChild(translated(make(DIALOG)));
  const form = dialog.querySelector("form");
  form.querySelector("[type=button]").onclick = () => dialog.close();
  form.onsubmit = () => addAddress(form.elements.address.value.trim());
  dialog.onclose = () => dialog.remove();
  dialog.showModal();
}
