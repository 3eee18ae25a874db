/** Which tiles of a list are selected, and which has the focus: by pointer with Shift and Ctrl, and by keys. */

const STEPS = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -1, ArrowDown: 1, Home: -Infinity, End: Infinity };

export class Selection {
  /** `list`: the element with the tiles. `onChange()`, `onOpen(tile)`, `onRemove(tiles)`, `onAll()` are called for what a person asks. */
  constructor(list, { onChange, onOpen, onRemove, onAll }) {
    Object.assign(this, { list, onChange, onOpen, onRemove, onAll, anchor: null });
    list.addEventListener("click", (event) => this.click(event));
    list.addEventListener("keydown", (event) => this.key(event));
    list.addEventListener("focusin", ({ target }) => this.rove(target.closest("li")));
  }

  get tiles() {
    return [...this.list.children];
  }

  get selected() {
    return this.tiles.filter((tile) => this.has(tile));
  }

  has(tile) {
    return tile.getAttribute("aria-selected") === "true";
  }

  set(tiles, isSelected) {
    for (const tile of tiles) tile.setAttribute("aria-selected", isSelected);
    this.onChange();
  }

  clear() {
    this.set(this.selected, false);
  }

  /** Only one tile is reached by Tab; from there on the arrow keys move. */
  rove(tile) {
    for (const other of this.list.querySelectorAll('[tabindex="0"]')) other.tabIndex = -1;
    if (tile) tile.tabIndex = 0;
  }

  /** After tiles came or went. */
  renew() {
    if (!this.list.querySelector('[tabindex="0"]')) this.rove(this.list.firstElementChild);
    this.onChange();
  }

  click(event) {
    const tile = event.target.closest("li");
    if (!tile) return;
    tile.focus({ preventScroll: true });
    if (event.target.closest(".remove")) return this.onRemove([tile]);
    if (event.shiftKey && this.anchor) return this.set(this.between(this.anchor, tile), true);
    if (event.ctrlKey || event.metaKey || event.shiftKey || event.target.closest(".check")) return this.toggle(tile);
    this.onOpen(tile);
  }

  toggle(tile) {
    this.anchor = tile;
    this.set([tile], !this.has(tile));
  }

  between(first, last) {
    const { tiles } = this;
    const [from, to] = [tiles.indexOf(first), tiles.indexOf(last)].sort((a, b) => a - b);
    return tiles.slice(Math.max(0, from), to + 1);
  }

  key(event) {
    const tile = event.target.closest("li");
    const withCtrl = event.ctrlKey || event.metaKey;
    if (!tile || event.altKey) return;
    const acts = {
      " ": () => this.toggle(tile),
      Enter: () => this.onOpen(tile),
      Escape: () => this.clear(),
      Delete: () => this.removeFrom(tile),
      Backspace: () => this.removeFrom(tile),
      ...(withCtrl ? { a: () => this.onAll() } : {}),
    };
    const act = STEPS[event.key] ? () => this.step(tile, event) : acts[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  /** All that is selected, if this tile is; else this one alone. */
  removeFrom(tile) {
    this.onRemove(this.has(tile) ? this.selected : [tile]);
  }

  step(tile, { key, shiftKey }) {
    const { tiles } = this;
    const columns = key.match(/Up|Down/) ? this.columns() : 1;
    const at = Math.min(tiles.length - 1, Math.max(0, tiles.indexOf(tile) + STEPS[key] * columns));
    if (shiftKey) {
      this.anchor ??= tile;
      this.set(this.between(this.anchor, tiles[at]), true);
    } else this.anchor = null;
    tiles[at].focus();
  }

  /** How many tiles stand side by side. */
  columns() {
    const { tiles } = this;
    const below = tiles.findIndex((tile) => tile.offsetTop > tiles[0].offsetTop);
    return below < 0 ? tiles.length : below;
  }
}
