/** Where the picture lies in its frame: the zoom, the part that is seen, and the border between before and after. */

const MAX_ZOOM = 10;

export class Position {
  /**
   * `root`: the viewer's element, whose CSS shows the position; `frame` in it shows a part of `pan`. Calls
   * `onMove(isZoomed)` after each change.
   */
  constructor(root, onMove) {
    Object.assign(this, { root, onMove, frame: root.querySelector(".frame"), pan: root.querySelector(".pan") });
    this.reset();
  }

  reset() {
    Object.assign(this, { zoom: 1, x: 0, y: 0, split: 0.5 });
  }

  /** Write the position to CSS. The border stays where it is while the picture moves below it. */
  place() {
    const { width, height } = this.frame.getBoundingClientRect();
    const within = (offset, side) => Math.min(0, Math.max(side * (1 - this.zoom), offset));
    this.x = within(this.x, width);
    this.y = within(this.y, height);
    this.pan.style.transform = `translate(${this.x}px, ${this.y}px) scale(${this.zoom})`;
    const border = (this.split * width - this.x) / this.zoom;
    this.root.style.setProperty("--clip", this.root.dataset.compare === "true" ? `${border}px` : "0px");
    this.root.style.setProperty("--split", `${this.split * 100}%`);
    this.root.style.setProperty("--unzoom", 1 / this.zoom);
    this.root.querySelector(".split").setAttribute("aria-valuenow", Math.round(this.split * 100));
    this.frame.classList.toggle("zoomed", this.zoom > 1);
    this.root.querySelector("[data-act=fit]").textContent = `${Math.round(this.zoom * 100)} %`;
    this.onMove(this.zoom !== this.placed);
    this.placed = this.zoom;
  }

  /** Zoom so that the point (x, y) of the frame stays where it is. */
  zoomBy(factor, x = this.frame.clientWidth / 2, y = this.frame.clientHeight / 2) {
    const next = Math.min(MAX_ZOOM, Math.max(1, this.zoom * factor));
    this.x = x - ((x - this.x) * next) / this.zoom;
    this.y = y - ((y - this.y) * next) / this.zoom;
    this.zoom = next;
    this.place();
  }

  moveBy(x, y) {
    this.x += x;
    this.y += y;
    this.place();
  }

  splitAt(share) {
    this.split = Math.min(1, Math.max(0, share));
    this.place();
  }

  /** The place in the picture, as shares of its width and height, below the point (x, y) of the frame. */
  shareAt(x, y) {
    const { clientWidth, clientHeight } = this.frame;
    return [(x - this.x) / (this.zoom * clientWidth), (y - this.y) / (this.zoom * clientHeight)];
  }

  /** The part of the picture that is seen, as shares: {left, top, right, bottom}. */
  seen() {
    const [left, top] = this.shareAt(0, 0);
    const [right, bottom] = this.shareAt(this.frame.clientWidth, this.frame.clientHeight);
    return { left, top, right, bottom };
  }
}
