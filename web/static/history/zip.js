/** Files of many photos of the history as one zip archive. */

import { downloadAll } from "../batch/archive.js";
import { t } from "../words.js";
import { itemOf } from "./open.js";

/** Make and download the archive of these jobs; `say` gets what there is to say, in words. */
export async function zipOf(jobs, kind, say) {
  const items = jobs.filter(({ state }) => state === "done").map((job) => ({ ...itemOf(job), controller: new AbortController() }));
  if (!items.length) return say(t("None of these has a result."));
  try {
    const onProgress = (done, count) => say(t("{done} of {count} files are in the archive.", { done, count }));
    const failed = await downloadAll(items, kind, { signal: new AbortController().signal, onProgress });
    say(failed.length ? t("These could not be made: {names}.", { names: failed.join(", ") }) : t("The archive is complete."));
  } catch (error) {
    say(`${t("That failed:")} ${error.message}`);
  }
}
