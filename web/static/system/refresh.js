/** Refreshes the system page while somebody looks at it: each part is replaced if it has changed. */

const EVERY_MS = 5000;
const status = document.querySelector("#refreshed");

async function refresh() {
  const answer = await fetch(location.href, { cache: "no-store", redirect: "manual" });
  if (answer.type === "opaqueredirect" || answer.status === 403) return location.reload();
  if (!answer.ok) throw new Error(`${answer.status}`);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of page.querySelectorAll("[data-part]")) {
    const shown = document.querySelector(`[data-part="${part.dataset.part}"]`);
    if (shown && shown.innerHTML !== part.innerHTML) shown.replaceChildren(...part.childNodes);
  }
  say("This page refreshes itself.");
}

/** Announced once: not after each refresh. */
function say(text) {
  if (status.textContent !== text) status.textContent = text;
}

async function refreshIfSeen() {
  if (!document.hidden) {
    await refresh().catch(() => say("The server does not answer; these figures are old."));
  }
  setTimeout(refreshIfSeen, EVERY_MS);
}

setTimeout(refreshIfSeen, EVERY_MS);
