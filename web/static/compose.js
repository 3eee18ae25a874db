/** Pictures out of pictures, on canvases: no request, no state. */

const PALETTE = ["#0b7468", "#b93a22", "#6a45c9", "#8a5c00", "#1f66b0", "#a03279"]; // white text on each: 4.5 : 1 and more

/** A canvas and its context. */
export function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  const context = canvas.getContext("2d");
  context.imageSmoothingQuality = "high";
  return [canvas, context];
}

/** The picture at most `longest` pixels a side. */
export function fitted(picture, longest) {
  if (Math.max(picture.width, picture.height) <= longest) return picture;
  const scale = longest / Math.max(picture.width, picture.height);
  const [canvas, context] = canvasOf(Math.round(picture.width * scale), Math.round(picture.height * scale));
  context.drawImage(picture, 0, 0, canvas.width, canvas.height);
  return canvas;
}

/** Grey picture -> canvas with that grey as its alpha. */
export function alphaOf(grey) {
  const [canvas, context] = canvasOf(grey.width, grey.height);
  context.drawImage(grey, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const data = pixels.data;
  for (let i = 0; i < data.length; i += 4) data[i + 3] = data[i];
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** `source` seen through `alpha`, at the source's size, on a colour or on nothing. */
export function cutOut(alpha, source, background = "") {
  const [canvas, context] = canvasOf(source.width, source.height);
  context.drawImage(alpha, 0, 0, canvas.width, canvas.height);
  context.globalCompositeOperation = "source-in";
  context.drawImage(source, 0, 0);
  if (background) {
    context.globalCompositeOperation = "destination-over";
    context.fillStyle = background;
    context.fillRect(0, 0, canvas.width, canvas.height);
  }
  return canvas;
}

/** `source` with its boxes; `scale` = pixels of the source per pixel of the boxes. */
export function boxed(source, boxes, colours, scale) {
  const [canvas, context] = canvasOf(source.width, source.height);
  context.drawImage(source, 0, 0);
  const line = Math.max(2, Math.max(canvas.width, canvas.height) / 400);
  context.lineWidth = line;
  context.font = `600 ${line * 6}px system-ui, sans-serif`;
  context.textBaseline = "bottom";
  for (const { box, label, score } of boxes) {
    const [x1, y1, x2, y2] = box.map((edge) => edge * scale);
    const text = `${label} ${percent(score)}`;
    context.fillStyle = context.strokeStyle = colours.get(label);
    context.strokeRect(x1, y1, x2 - x1, y2 - y1);
    const top = Math.max(y1, line * 9);
    context.fillRect(x1 - line / 2, top - line * 9, context.measureText(text).width + line * 4, line * 9);
    context.fillStyle = "#fff";
    context.fillText(text, x1 + line * 1.5, top - line);
  }
  return canvas;
}

/** Label -> colour, the same for the same set of labels. */
export function coloursOf(boxes) {
  const labels = [...new Set(boxes.map((one) => one.label))].sort();
  return new Map(labels.map((label, index) => [label, PALETTE[index % PALETTE.length]]));
}

/** Canvas -> Blob; rejects where the browser's memory or size limit is passed. */
export function encoded(canvas, type) {
  return new Promise((resolve, reject) =>
    canvas.toBlob((blob) => (blob?.type === type ? resolve(blob) : reject(new Error(`no ${type} here`))), type, 0.92),
  );
}

export const percent = (share) => `${Math.round(share * 100)} %`;
