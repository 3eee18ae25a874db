/** Has one's data erased, once a person has confirmed it; loaded when the button is pressed. */

import { call } from "../api.js";
import { t } from "../words.js";

const WAIT_S = 60;
const QUESTION = "Delete all your photos, results, links and API keys on this server? This cannot be undone.";

/** `button` was pressed; what becomes of it is said in `status`. */
export async function erase(button, status) {
  if (!confirm(t(QUESTION))) return;
  button.disabled = true;
  status.textContent = t("Deleting…");
  try {
    await call("DELETE", `/me/data?wait=${WAIT_S}`);
    sessionStorage.clear(); // the photos that this tab remembers
    location.reload();
  } catch (error) {
    status.textContent = [error.message, error.hint].filter(Boolean).join(" ");
    button.disabled = false;
  }
}
