/**
 * Keeps the photos themselves in the browser's storage (IndexedDB), so that after a reload files can still be made at
 * full size. They never leave this browser. What belongs to a tab that was closed is removed by the next one.
 */

const DATABASE = "pixelmill";
const STORE = "originals";
const ALIVE = "pixelmill.tab."; // in localStorage, with a tab's id: when that tab was last alive
const TAB = "pixelmill.tab"; // in sessionStorage: this tab's id
const BEAT_MS = 60_000;
const GONE_MS = 10 * BEAT_MS;
const MOST_BYTES = 2 ** 31;
const SHARE = 0.2; // of the room that the browser gives to this page

/** Keep a file; resolves with its id, or with null if there is no room. */
export async function keepOriginal(file) {
  try {
    if ((await usedBytes()) + file.size > (await roomBytes())) return null;
    const id = crypto.randomUUID?.() ?? `${Date.now()}-${Math.random()}`;
    await request("readwrite", (store) => store.put({ file, tab: tabId(), size: file.size }, id));
    return id;
  } catch {
    return null; // a private window, or a full disk
  }
}

/** The file, or null if it is gone. */
export async function originalOf(id) {
  const record = id && (await request("readonly", (store) => store.get(id)).catch(() => null));
  if (!record) return null;
  const isReadable = await record.file.slice(0, 1).arrayBuffer().then(() => true, () => false);
  return isReadable ? record.file : null;
}

export const forgetOriginal = (id) => id && request("readwrite", (store) => store.delete(id)).catch(() => {});

/** Say from time to time that this tab is alive, and remove the files of those that are not. */
export function startKeeping() {
  const beat = () => localStorage.setItem(ALIVE + tabId(), Date.now());
  beat();
  setInterval(beat, BEAT_MS);
  removeStrays().catch(() => {});
}

async function removeStrays() {
  const tabs = Object.keys(localStorage).filter((key) => key.startsWith(ALIVE));
  const gone = tabs.filter((key) => Date.now() - localStorage.getItem(key) > GONE_MS);
  gone.forEach((key) => localStorage.removeItem(key));
  const alive = tabs.filter((key) => !gone.includes(key)).map((key) => key.slice(ALIVE.length));
  await cursor("readwrite", (found) => alive.includes(found.value.tab) || found.delete());
}

async function usedBytes() {
  let sum = 0;
  await cursor("readonly", ({ value }) => (sum += value.size));
  return sum;
}

async function roomBytes() {
  const { quota = MOST_BYTES } = (await navigator.storage?.estimate?.()) ?? {};
  return Math.min(MOST_BYTES, quota * SHARE);
}

function tabId() {
  const id = sessionStorage.getItem(TAB) ?? `${Date.now()}-${Math.random()}`;
  sessionStorage.setItem(TAB, id);
  return id;
}

let opened = null;

function database() {
  opened ??= new Promise((resolve, reject) => {
    const opening = indexedDB.open(DATABASE, 1);
    opening.onupgradeneeded = () => opening.result.createObjectStore(STORE);
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = opening.onblocked = () => reject(opening.error);
  });
  return opened;
}

/** The answer to one request, once its transaction is complete. */
async function request(mode, ask) {
  const transaction = (await database()).transaction(STORE, mode);
  const asked = ask(transaction.objectStore(STORE));
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(asked.result);
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}

/** Call `see` with a cursor at each record. */
async function cursor(mode, see) {
  const transaction = (await database()).transaction(STORE, mode);
  const asked = transaction.objectStore(STORE).openCursor();
  return new Promise((resolve, reject) => {
    asked.onsuccess = () => {
      if (!asked.result) return;
      see(asked.result);
      asked.result.continue();
    };
    transaction.oncomplete = () => resolve();
    transaction.onabort = transaction.onerror = () => reject(transaction.error);
  });
}
