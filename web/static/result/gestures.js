/** Gestures on a viewer: a finger or the mouse moves the border or the zoomed picture; two, or ctrl+wheel, zoom. */
export function gestures(frame, viewer) {
  const fingers = new Map();
  let moving = "";
  const local = ({ clientX, clientY }) => {
    const box = frame.getBoundingClientRect();
    return { x: clientX - box.left, y: clientY - box.top, share: (clientX - box.left) / box.width };
  };

  frame.addEventListener("pointerdown", (event) => {
    if (event.target.closest("button") || event.button) return;
    const here = local(event);
    fingers.set(event.pointerId, here);
    frame.setPointerCapture(event.pointerId);
    moving = viewer.zoom > 1 && !event.target.closest(".split") ? "picture" : "border";
    if (fingers.size === 1 && moving === "border") viewer.splitAt(here.share);
  });
  frame.addEventListener("pointermove", (event) => {
    const last = fingers.get(event.pointerId);
    if (!last) return;
    const before = [...fingers.values()];
    const here = local(event);
    fingers.set(event.pointerId, here);
    if (fingers.size === 2) pinch(viewer, before, [...fingers.values()]);
    else if (moving === "border") viewer.splitAt(here.share);
    else viewer.moveBy(here.x - last.x, here.y - last.y);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    frame.addEventListener(end, (event) => fingers.delete(event.pointerId));
  }
  frame.addEventListener("dblclick", (event) => {
    if (event.target.closest("button")) return;
    const { x, y } = local(event);
    viewer.zoomBy(viewer.zoom > 1 ? 0 : 2.5, x, y);
  });
  const wheel = (event) => {
    if (!event.ctrlKey && !event.metaKey) return; // a plain wheel scrolls the page
    event.preventDefault();
    const { x, y } = local(event);
    viewer.zoomBy(Math.exp(-event.deltaY / 200), x, y);
  };
  frame.addEventListener("wheel", wheel, { passive: false });
}

function pinch(viewer, before, after) {
  const apart = ([a, b]) => Math.hypot(a.x - b.x, a.y - b.y);
  const [a, b] = after;
  viewer.zoomBy(apart(after) / apart(before), (a.x + b.x) / 2, (a.y + b.y) / 2);
}
