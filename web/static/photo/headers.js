/** What a file says about itself before it is decoded: its format, its orientation, whether it may be transparent. */

const JPEG_EXIF = "Exif\0\0";
const JPEG_ICC = "ICC_PROFILE\0"; // then the number of the part, and how many there are
const ADOBE_RGB = "R03\0"; // EXIF's name of it, in the interoperability index
const NO_FRAME = [0xc4, 0xc8, 0xcc]; // of a JPEG's markers 0xc0 to 0xcf
const ALPHA_IN_AVIF = "urn:mpeg:mpegB:cicp:systems:auxiliary:alpha";
const ALPHA_IN_HEIC = "urn:mpeg:hevc:2015:auxid:1";
const BOXES = 16_384; // the boxes before the pixels of an AVIF or HEIC
const ORIENTATION = 0x0112;
const BYTES_OF = { 1: 1, 3: 2, 4: 4 }; // TIFF's types BYTE, SHORT and LONG
const HEIC_BRANDS = ["heic", "heix", "hevc", "hevx", "heim", "heis", "mif1", "msf1"];
const HDR = [16, 18]; // CICP's transfer functions PQ and HLG
/** Types whose EXIF orientation browsers read by rules of their own, so that this page turns them itself. */
export const TURNED_HERE = ["image/jpeg", "image/png", "image/webp"];
const STARTS = {
  "image/jpeg": ["\xff\xd8\xff"],
  "image/png": ["\x89PNG\r\n\x1a\n"],
  "image/gif": ["GIF8"],
  "image/tiff": ["II*\0", "MM\0*", "II+\0", "MM\0+"],
  "image/bmp": ["BM"],
  "image/jxl": ["\xff\x0a", "\0\0\0\x0cJXL "],
};

/**
 * {type, orientation, orientationAt, isOpaque, isUnusual} of a file's bytes.
 *
 * `type` is the media type by the first bytes, not by the name; null if it is unknown. `orientation` is EXIF's
 * 1..8 of a JPEG, PNG or WebP, and `orientationAt` the place of its value: browsers differ in whether they turn
 * those. All of them turn an AVIF or HEIC by its boxes, so for these it is 1. `isOpaque`: certainly opaque.
 * `isUnusual`: browsers convert its colours worse than the server does: HDR, inks, a profile of tables or of lists of
 * values, 16 bits in another space than sRGB, Adobe RGB by nothing but EXIF, or the alpha of an AVIF. So it is not
 * shrunk here.
 */
export async function headerOf(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const type = typeOf(view);
  const header = { type, orientation: 1, orientationAt: 0, isOpaque: false, isUnusual: false };
  try {
    return { ...header, ...(await READERS[type]?.(view)) };
  } catch (error) {
    if (error instanceof RangeError) return header; // the file is cut short: the decoder will say what is wrong
    throw error;
  }
}

function typeOf(view) {
  const start = text(view, 0, 12);
  for (const [type, starts] of Object.entries(STARTS)) if (starts.some((bytes) => start.startsWith(bytes))) return type;
  if (start.startsWith("RIFF") && start.endsWith("WEBP")) return "image/webp";
  return start.slice(4, 8) === "ftyp" ? brandOf(view) : null;
}

function brandOf(view) {
  const brands = text(view, 8, Math.min(view.getUint32(0), 256) - 8).match(/[^]{4}/g) ?? [];
  if (brands.some((brand) => ["avif", "avis"].includes(brand))) return "image/avif";
  return brands.some((brand) => HEIC_BRANDS.includes(brand)) ? "image/heic" : null;
}

const READERS = {
  "image/jpeg": jpeg,
  "image/png": png,
  "image/webp": webp,
  "image/avif": (view) => boxes(view, ALPHA_IN_AVIF),
  "image/heic": (view) => boxes(view, ALPHA_IN_HEIC),
};

async function boxes(view, alpha) {
  const start = text(view, 0, BOXES);
  const at = start.indexOf("colrnclx");
  const isHdr = at >= 0 && HDR.includes(view.getUint16(at + 10));
  const isOpaque = !start.includes(alpha);
  const profileAt = start.indexOf("colrprof") + 8;
  const isOdd = profileAt >= 8 && (await isConvertedOtherwise(view, profileAt));
  return { isOpaque, isUnusual: !isOpaque || isHdr || isOdd };
}

async function jpeg(view) {
  const found = { isOpaque: true, isUnusual: false };
  let hasExif = false;
  for (let at = 2; at + 4 < view.byteLength && view.getUint8(at) === 0xff; ) {
    const marker = view.getUint8(at + 1);
    if (marker === 0xff) {
      at++; // a fill byte
      continue;
    }
    if (marker === 0xda) break; // from here on pixels
    const length = view.getUint16(at + 2);
    if (marker === 0xe1 && !hasExif && text(view, at + 4, 6) === JPEG_EXIF) {
      hasExif = true;
      Object.assign(found, exif(view, at + 10));
      found.isUnusual ||= text(view, at + 10, length).includes(ADOBE_RGB);
    }
    const isFrame = marker >= 0xc0 && marker <= 0xcf && !NO_FRAME.includes(marker);
    const hasInks = isFrame && view.getUint8(at + 9) === 4;
    const hasProfile = marker === 0xe2 && text(view, at + 4, 12) === JPEG_ICC && view.getUint8(at + 16) === 1;
    found.isUnusual ||= hasInks || (hasProfile && (await isConvertedOtherwise(view, at + 18)));
    at += 2 + length;
  }
  return found;
}

async function png(view) {
  const found = { isOpaque: ![4, 6].includes(view.getUint8(25)) }; // the colour type
  for (let at = 8; at + 12 <= view.byteLength; at += 12 + view.getUint32(at)) {
    const name = text(view, at + 4, 4);
    const isDeep = view.getUint8(24) === 16;
    if (name === "tRNS") found.isOpaque = false;
    if (name === "iCCP") found.isUnusual ||= isDeep || (await isConvertedOtherwise(view, at + 8, true));
    if (name === "cICP") found.isUnusual ||= isDeep || HDR.includes(view.getUint8(at + 9));
    if (name === "eXIf") Object.assign(found, exif(view, at + 8));
  }
  return found;
}

async function webp(view) {
  const found = { isOpaque: true };
  for (let at = 12; at + 8 <= view.byteLength; ) {
    const [name, length] = [text(view, at, 4), view.getUint32(at + 4, true)];
    if (name === "ICCP") found.isUnusual = await isConvertedOtherwise(view, at + 8);
    if (name === "VP8X") found.isOpaque = !(view.getUint8(at + 8) & 0x10);
    if (name === "VP8L" && view.getUint8(at + 12) & 0x10) found.isOpaque = false;
    if (name === "EXIF") Object.assign(found, exif(view, at + 8 + (text(view, at + 8, 6) === JPEG_EXIF ? 6 : 0)));
    at += 8 + length + (length % 2);
  }
  return found;
}

/** Whether browsers convert by the ICC profile at this place otherwise than it says. Most photos have none. */
async function isConvertedOtherwise(view, at, isPacked = false) {
  const { inflated, isOdd } = await import("../colour/profiles.js");
  return isPacked ? isOdd(await inflated(view, at), 0) : isOdd(view, at);
}

/** {orientation, orientationAt} of the TIFF structure that begins at `start`; {} if it has none in 1..8. */
function exif(view, start) {
  const little = view.getUint16(start) === 0x4949;
  const first = start + view.getUint32(start + 4, little);
  const entries = view.getUint16(first, little);
  for (let at = first + 2; at < first + 2 + 12 * entries; at += 12) {
    if (view.getUint16(at, little) !== ORIENTATION) continue;
    const size = BYTES_OF[view.getUint16(at + 2, little)];
    const orientationAt = at + 8 + (little || !size ? 0 : size - 1); // of the value's lowest byte
    const orientation = view.getUint8(orientationAt);
    if (size && orientation >= 1 && orientation <= 8) return { orientation, orientationAt };
  }
  return {};
}

/** Bytes as a string of as many characters. */
export function text(view, at, length) {
  const end = Math.min(at + length, view.byteLength);
  return String.fromCharCode(...new Uint8Array(view.buffer, view.byteOffset + at, Math.max(0, end - at)));
}
