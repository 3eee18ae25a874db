/** Chooses one of several subjects: by a click, or by the arrow keys and Enter. */

import { runBeside } from "../items.js";
import { make, modelNamed } from "../state.js";

const STEP = 0.03; // of the frame, for each press of an arrow key
const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Whether the model of an item can be told where the subject is. */
export const canPick = ({ request }) => Boolean(request && modelNamed(request.model)?.params.properties?.point);

export class Picker {
  /** `itemOf()`: the item that is shown; `placeOf(point)`: a point of the frame as shares of the photo. */
  constructor(frame, { itemOf, placeOf, onEnd }) {
    Object.assign(this, { frame, itemOf, placeOf, onEnd });
    this.aim = make(`<div class="aim" aria-hidden="true" hidden></div>`);
    frame.append(this.aim);
  }

  toggle(isOn) {
    this.at = { x: this.frame.clientWidth / 2, y: this.frame.clientHeight / 2 };
    this.aim.hidden = true;
    this.isOn = isOn;
  }

  down(point) {
    this.at = point;
  }

  move(...points) {
    this.at = points.at(-1);
  }

  up() {
    this.pick();
  }

  cancel() {}

  /** Run the photo once more with the subject that is at this place. */
  pick() {
    const item = this.itemOf();
    const point = this.placeOf(this.at).map((share) => Math.min(1, Math.max(0, share)).toFixed(4));
    const params = { ...item.request.params, point: point.join(",") };
    this.onEnd();
    runBeside(item, true, { ...item.request, params });
  }

  /** Whether a key was one of the picker's. */
  key({ key }) {
    if (key === "Escape") this.onEnd();
    else if (key === "Enter") this.pick();
    else if (ARROWS[key]) this.step(...ARROWS[key]);
    else return false;
    return true;
  }

  step(across, down) {
    const { clientWidth, clientHeight } = this.frame;
    const moved = (at, by, side) => Math.min(side, Math.max(0, at + by * STEP * side));
    this.at = { x: moved(this.at.x, across, clientWidth), y: moved(this.at.y, down, clientHeight) };
    Object.assign(this.aim.style, { left: `${this.at.x}px`, top: `${this.at.y}px` });
    this.aim.hidden = false;
  }
}
