/**
 * Gestures on a picture: a finger or the mouse moves the border or the zoomed picture, or is the tool's; two fingers
 * zoom and move, as ctrl+wheel zooms. `tool()` gives what has `down`, `move`, `up` and `cancel`, or null.
 */
export function gestures(frame, position, tool) {
  const fingers = new Map();
  let moving = "";
  let held = null; // the tool that has the finger
  const local = ({ clientX, clientY }) => {
    const box = frame.getBoundingClientRect();
    return { x: clientX - box.left, y: clientY - box.top, share: (clientX - box.left) / box.width };
  };

  frame.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button") || event.button > 1) return;
    const here = local(event);
    fingers.set(event.pointerId, here);
    frame.setPointerCapture(event.pointerId);
    const isMiddle = event.button === 1; // which moves the picture whatever the tool
    if (fingers.size === 2) held = void held?.cancel();
    else if (!isMiddle && tool()) (held = tool()).down(here);
    if (held || fingers.size > 1) return;
    moving = isMiddle || (position.zoom > 1 && !event.target.closest(".split")) ? "picture" : "border";
    if (moving === "border") position.splitAt(here.share);
  });
  frame.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    const here = local(event);
    if (!last) return tool()?.hover?.(here);
    const before = [...fingers.values()];
    fingers.set(event.pointerId, here);
    if (fingers.size === 2) pinch(position, before, [...fingers.values()]);
    else if (held) held.move(...(event.getCoalescedEvents?.().map(local) ?? []), here);
    else if (moving === "border") position.splitAt(here.share);
    else position.moveBy(here.x - last.x, here.y - last.y);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    frame.addEventListener(end, (event) => {
      if (!fingers.delete(event.pointerId)) return;
      held = void held?.[end === "pointerup" ? "up" : "cancel"]();
      moving = fingers.size ? "picture" : ""; // the finger that is left moves it on
    });
  }
  frame.addEventListener("pointerleave", () => tool()?.hover?.(null));
  frame.addEventListener("dblclick", (event) => {
    if (event.target.closest("button") || tool()) return;
    const { x, y } = local(event);
    position.zoomBy(position.zoom > 1 ? 0 : 2.5, x, y);
  });
  const wheel = (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the page
    event.preventDefault();
    const { x, y } = local(event);
    position.zoomBy(Math.exp(-event.deltaY / 200), x, y);
  };
  frame.addEventListener("wheel", wheel, { passive: false });
}

function pinch(position, before, after) {
  const apart = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y);
  const middle = ([a, b]) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  const [from, to] = [middle(before), middle(after)];
  position.moveBy(to.x - from.x, to.y - from.y);
  position.zoomBy(apart(after) / apart(before), to.x, to.y);
}
