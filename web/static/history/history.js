/** The history: all that the server keeps of a person's photos, whichever browser or program has sent them. */

import { call, listModels, ROOT } from "../api.js";
import { make } from "../state.js";
import { t, translated } from "../words.js";
import { deleteLater, leaving } from "./deletions.js";
import { open } from "./open.js";
import { Pages } from "./pages.js";
import { Selection } from "./selection.js";
import { lengthOf, STATES } from "./texts.js";
import { drawTile, tileOf } from "./tile.js";

const REFRESH_MS = 15_000;
const BUSY_MS = 3000; // while something is under way
const TYPING_MS = 300;
const AHEAD_PX = 600; // below the window, from where on the list is read on

const MARKUP = `<section aria-label="History">
  <form class="filters" role="search">
    <input type="search" name="name" placeholder="Search by name" aria-label="Search by name" maxlength="200">
    <span><label for="pm-history-model">Model</label> <select id="pm-history-model" name="model"><option value="">all</option></select></span>
    <span><label for="pm-history-state">State</label> <select id="pm-history-state" name="state"><option value="">all</option></select></span>
    <span><label for="pm-history-since">From</label> <input id="pm-history-since" type="date" name="since"></span>
    <span><label for="pm-history-until">To</label> <input id="pm-history-until" type="date" name="until"></span>
  </form>
  <div class="chosen" hidden><b role="status"></b>
    <button type="button" data-do="all">Select all</button><button type="button" data-do="none">Select none</button>
    <select aria-label="Format of the files"><option value="png">PNG</option><option value="webp">WebP</option><option value="jpeg">JPEG</option></select>
    <button type="button" data-do="zip">Download as zip</button><button type="button" data-do="remove">Delete</button>
  </div>
  <ul class="tiles" role="listbox" aria-multiselectable="true" aria-label="Earlier photos" hidden></ul>
  <p class="said note" role="status"></p>
  <p class="state note" role="status"></p>
  <p class="more"><button type="button" data-do="more" hidden>Show more</button></p>
  <p class="kept note"></p>
  <p class="keys note">Enter opens a photo, Space selects it, Shift and arrows select several, Delete deletes.</p>
</section>`;

export class History {
  /** The list in `root`; it is loaded when it is first shown. */
  constructor(root) {
    document.head.append(make(`<link rel="stylesheet" href="${ROOT}/static/history.css">`));
    root.append(translated(make(MARKUP)));
    this.root = root;
    this.find = (selector) => root.querySelector(selector);
    this.list = this.find(".tiles");
    this.pages = new Pages(() => this.filter());
    this.selection = new Selection(this.list, {
      onChange: () => this.drawChosen(),
      onOpen: (tile) => this.open(tile),
      onRemove: (tiles) => this.remove(tiles),
      onAll: () => this.selectAll(),
    });
    this.listen();
    this.fillChoices();
    this.sayWhatIsKept();
  }

  /** Show it or hide it. */
  toggle(isShown) {
    this.isShown = isShown;
    clearTimeout(this.timer);
    if (isShown) this.refresh();
  }

  listen() {
    const acts = {
      all: () => this.selectAll(),
      none: () => this.selection.clear(),
      remove: () => this.remove(this.selection.selected),
      zip: () => this.zip(),
      more: () => this.more(),
    };
    this.root.addEventListener("click", ({ target }) => acts[target.closest("[data-do]")?.dataset.do]?.());
    const form = this.find("form");
    let typing;
    form.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => this.reload(), TYPING_MS);
    });
    form.addEventListener("submit", (event) => event.preventDefault());
    document.addEventListener("visibilitychange", () => this.isShown && !document.hidden && this.refresh());
    new IntersectionObserver(([entry]) => entry.isIntersecting && this.more(), { rootMargin: `${AHEAD_PX}px` }).observe(this.find(".more"));
  }

  /** What the form asks for, as the query of GET /jobs; days are those of this computer's time zone. */
  filter() {
    const { name, model, state, since, until } = Object.fromEntries(new FormData(this.find("form")));
    const query = new URLSearchParams();
    if (name.trim()) query.set("name", name.trim());
    if (model) query.set("model", model);
    for (const word of STATES[state] ?? []) query.append("state", word);
    if (since) query.set("since", new Date(`${since}T00:00`).toISOString());
    if (until) query.set("until", new Date(new Date(`${until}T00:00`).getTime() + 86_400_000).toISOString());
    return query;
  }

  async fillChoices() {
    for (const name of Object.keys(STATES)) this.find("[name=state]").add(new Option(t(name), name));
    for (const { name, title } of await listModels().catch(() => [])) this.find("[name=model]").add(new Option(t(title), name));
  }

  async sayWhatIsKept() {
    const { kept } = await call("GET", "/me").catch(() => ({}));
    if (!kept) return;
    const lengths = { jobs: lengthOf(kept.results_s), uploads: lengthOf(kept.uploads_s) };
    const text = "Only you see this list. What is in it, with its result and its name, is removed {jobs} after it was made, and the photo itself {uploads} after it was sent. Then only another upload brings it back.";
    this.find(".kept").textContent = t(text, lengths);
  }

  /** The filter has changed. */
  reload() {
    this.list.replaceChildren();
    this.pages.restart();
    this.query = String(this.filter());
    this.list.hidden = true;
    return this.refresh();
  }

  /** Read the beginning of the list anew: what is new comes, what is gone goes, all else stays where it is. */
  refresh() {
    return this.ask(() => this.pages.first());
  }

  /** Read on where the list ends, unless the server is being asked just now. */
  more() {
    if (this.isShown && this.pages.next && !this.isBusy) this.append();
  }

  append() {
    return this.ask(async () => ({ jobs: await this.pages.more(), isGone: () => false }));
  }

  /** Read jobs of the server into the list, and say what came of it; resolves with whether they came. */
  async ask(read) {
    const { query } = this;
    clearTimeout(this.timer);
    this.isBusy = true;
    const note = this.find(".state");
    let isDone = false;
    if (!this.list.children.length) note.textContent = t("Loading…");
    try {
      const { jobs, isGone } = await read();
      if (query !== this.query) return true; // somebody asks for other jobs meanwhile
      this.put(jobs, isGone);
      isDone = true;
      const isFiltered = [...this.filter()].length > 0;
      const nothing = isFiltered ? t("No photo matches.") : t("There is nothing yet. Photos that you send will be here, whichever browser you use.");
      note.textContent = this.list.children.length ? "" : nothing;
    } catch (error) {
      note.textContent = [error.message, error.hint].filter(Boolean).join(" ");
    }
    this.isBusy = false;
    this.find("[data-do=more]").hidden = !this.pages.next;
    const isUnderWay = this.list.querySelector("li:not(:is([data-state=done], [data-state=failed], [data-state=cancelled]))");
    if (this.isShown) this.timer = setTimeout(() => document.hidden || this.refresh(), isUnderWay ? BUSY_MS : REFRESH_MS);
    if (isDone && this.find(".more").getBoundingClientRect().top < innerHeight + AHEAD_PX) this.more(); // a page may be short
    return isDone;
  }

  /** Bring jobs into the list, newest first; tiles whose jobs `isGone` leave it. */
  put(jobs, isGone) {
    const tiles = new Map([...this.list.children].map((tile) => [tile.job.id, tile]));
    for (const [id, tile] of tiles) if (leaving.has(id) || isGone(tile.job)) this.drop(tile);
    for (const job of jobs) {
      if (leaving.has(job.id)) continue;
      const known = tiles.get(job.id);
      if (known) drawTile(known, job);
      else this.insert(tileOf(job));
    }
    this.list.hidden = !this.list.children.length;
    this.selection.renew();
  }

  insert(tile) {
    const older = [...this.list.children].reverse().find(({ job }) => job.created > tile.job.created);
    if (older) older.after(tile);
    else this.list.prepend(tile);
  }

  /** Take a tile away; the focus goes to its neighbour. */
  drop(tile) {
    const hadFocus = tile === document.activeElement;
    const neighbour = tile.nextElementSibling ?? tile.previousElementSibling;
    tile.remove();
    if (hadFocus) neighbour?.focus();
  }

  drawChosen() {
    const count = this.selection.selected.length;
    this.find(".chosen").hidden = !count;
    this.find(".chosen b").textContent = count ? t("{count} selected", { count }) : "";
  }

  async selectAll() {
    while (this.pages.next && (await this.append()));
    this.selection.set(this.selection.tiles, true);
  }

  async open(tile) {
    try {
      await open(tile.job);
    } catch (error) {
      if (error.status !== 404) return (this.find(".said").textContent = error.message);
      this.drop(tile);
      this.selection.renew();
      this.find(".said").textContent = t("This photo was deleted meanwhile.");
    }
  }

  remove(tiles) {
    const jobs = tiles.map(({ job }) => job);
    if (!jobs.length) return;
    deleteLater(jobs.map(({ id }) => id), { undo: () => this.put(jobs, () => false) });
    tiles.forEach((tile) => this.drop(tile));
    this.list.hidden = !this.list.children.length;
    this.selection.renew();
  }

  async zip() {
    const note = this.find(".said");
    const { zipOf } = await import("./zip.js");
    await zipOf(this.selection.selected.map(({ job }) => job), this.find(".chosen select").value, (sentence) => (note.textContent = sentence));
  }
}
