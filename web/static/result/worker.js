/** The worker in which cut-outs are computed: {id, name, argument} in, {id, answer} or {id, error} out. */

import { calls } from "./render.js";

onmessage = async ({ data: { id, name, argument } }) => {
  try {
    const answer = await calls[name](argument);
    postMessage({ id, answer }, Object.values(answer ?? {}).filter((value) => value instanceof ImageBitmap));
  } catch (error) {
    postMessage({ id, error: error.message });
  }
};

postMessage({ isReady: true });
