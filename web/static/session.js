/** What a reload of the tab must not lose: jobs and small copies of their photos, in sessionStorage. */

const KEY = "pixelmill.items";

export function remember(items) {
  const kept = items
    .filter((item) => item.job)
    .map(({ name, thumb, request, job, photo: { sha256, size, variant, upload, sendOriginal } }) => ({
      name,
      thumb,
      request,
      job: { id: job.id, state: "queued" },
      photo: { sha256, size, variant, upload, sendOriginal },
    }));
  while (kept.length && !written(kept)) kept.shift(); // the oldest go first when the tab's storage is full
  if (!kept.length) sessionStorage.removeItem(KEY);
}

function written(kept) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(kept));
    return true;
  } catch {
    return false;
  }
}

export function recall() {
  const items = JSON.parse(sessionStorage.getItem(KEY) ?? "[]");
  return items.map((item) => ({ ...item, phase: "queued", details: {}, blobs: {}, sendMs: 0, reloaded: true }));
}
