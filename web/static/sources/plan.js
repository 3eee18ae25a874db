/** Says of one photo how it will be sent. */

import { fit } from "../photo/photos.js";
import { isShrunk, MAX_SIDE, shrunkType } from "../photo/upload.js";
import { bytes } from "../progress.js";
import { t } from "../words.js";

/** In a sentence; empty for a photo that the page has not looked at, or that it does not have. */
export async function planOf({ name, photo }, sendOriginal) {
  const { file, header, size } = photo;
  if (!file || !header || !(size || header.type)) return "";
  const told = { name, size: bytes(file.size), from: wordOf(header.type ?? file.type) };
  if (isShrunk(photo, sendOriginal)) {
    const [width, height] = fit(size, MAX_SIDE);
    const kept = header.isOpaque ? "" : ` ${t("What is transparent stays so.")}`;
    const as = { ...told, type: wordOf(await shrunkType(photo)), shape: `${width} × ${height}` };
    return t("{name}: a copy of {shape} as {type}, or the {from} itself ({size}) if the copy saves less than a fifth.", as) + kept;
  }
  const whole = t("{name}: the {from} itself, byte by byte ({size}).", told);
  if (sendOriginal) return whole;
  if (!size) return `${whole} ${t("Only the server can read it.")}`;
  return header.isUnusual ? `${whole} ${t("Only the server understands its colours.")}` : whole;
}

const wordOf = (type) => type.split("/")[1].toUpperCase();
