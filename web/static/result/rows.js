/** Rows of a map that are costly to make, kept while the next ones are asked for, from above to below. */

const WHOLE = 4e6; // a map of at most so many bytes is made and kept as a whole

export class KeptRows {
  /** `make(top, count)` gives `count` rows of `width` bytes. */
  constructor(width, height, make) {
    Object.assign(this, { width, make, from: 0, to: 0, kept: new Uint8Array() });
    if (width * height <= WHOLE) this.whole = height;
  }

  /** The rows `from` to `to`, in an array of its own. */
  rows(from, to) {
    if (this.whole && !this.to) Object.assign(this, { to: this.whole, kept: this.make(0, this.whole) });
    if (from < this.from || to > this.to) this.moveTo(from, to);
    return this.kept.slice((from - this.from) * this.width, (to - this.from) * this.width);
  }

  moveTo(from, to) {
    const overlaps = from >= this.from && from <= this.to;
    const first = overlaps ? this.to : from;
    const kept = new Uint8Array((to - from) * this.width);
    if (overlaps) kept.set(this.kept.subarray((from - this.from) * this.width));
    kept.set(this.make(first, to - first), (first - from) * this.width);
    Object.assign(this, { from, to, kept });
  }
}
