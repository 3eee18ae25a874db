/** Writes PNG files a few rows at a time: no canvas limits their size, and colours under faint alpha stay exact. */

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
const COLOUR_TYPES = { 1: 0, 3: 2, 4: 6 }; // by channels: grey, RGB, RGBA
const SUB = 1;
const UP = 2;

/** Whether this browser has what it takes. */
export const canWritePng = () => Boolean(globalThis.CompressionStream);

/**
 * `strips`: async iterable of RGBA rows from top to bottom, any number of whole rows at a time. `channels`: 4, or
 * 3 if all of it is opaque, or 1 for its alpha alone as grey.
 */
export async function pngOf({ width, height, strips }, channels) {
  const header = new Uint8Array(13);
  const view = new DataView(header.buffer);
  view.setUint32(0, width);
  view.setUint32(4, height);
  header.set([8, COLOUR_TYPES[channels]], 8);
  const parts = [new Uint8Array(SIGNATURE), ...chunk("IHDR", header)];
  const deflate = new CompressionStream("deflate");
  const [written] = await Promise.all([collected(deflate.readable), write(deflate.writable, strips, width, channels)]);
  for (const part of written) parts.push(...chunk("IDAT", part));
  return new Blob([...parts, ...chunk("IEND", new Uint8Array())], { type: "image/png" });
}

async function collected(stream) {
  const parts = [];
  for (const reader = stream.getReader(); ; ) {
    const { done, value } = await reader.read();
    if (done) return parts;
    parts.push(value);
  }
}

async function write(stream, strips, width, channels) {
  const writer = stream.getWriter();
  let above = new Uint8Array(width * channels);
  try {
    for await (const strip of strips) {
      const rows = channels === 4 ? strip : picked(strip, channels);
      const filtered = filter(rows, above, width * channels, channels);
      above = rows.slice(-width * channels);
      await writer.write(filtered);
    }
    await writer.close();
  } catch (error) {
    await writer.abort(error).catch(() => {});
    throw error;
  }
}

function picked(pixels, channels) {
  const rows = new Uint8Array((pixels.length / 4) * channels);
  const first = channels === 1 ? 3 : 0;
  for (let from = first, to = 0; from < pixels.length; from += 4) {
    for (let channel = 0; channel < channels; channel++) rows[to++] = pixels[from + channel];
  }
  return rows;
}

/** Each row as the difference to its left or to the row above, whichever is smaller in a sample (PNG 3, 12.7). */
function filter(rows, above, length, channels) {
  const count = rows.length / length;
  const filtered = new Uint8Array(count * (length + 1));
  for (let row = 0; row < count; row++) {
    const current = rows.subarray(row * length, (row + 1) * length);
    const target = filtered.subarray(row * (length + 1), (row + 1) * (length + 1));
    target[0] = isFlatter(current, above, channels) ? SUB : UP;
    if (target[0] === UP) for (let i = 0; i < length; i++) target[i + 1] = current[i] - above[i];
    else {
      target.set(current.subarray(0, channels), 1);
      for (let i = channels; i < length; i++) target[i + 1] = current[i] - current[i - channels];
    }
    above = current;
  }
  return filtered;
}

function isFlatter(current, above, channels) {
  let [left, up] = [0, 0];
  for (let i = channels; i < current.length; i += 13) {
    left += Math.abs(current[i] - current[i - channels]);
    up += Math.abs(current[i] - above[i]);
  }
  return left < up;
}

/** [length, name, data, CRC]. */
function chunk(name, data) {
  const [length, crc] = [new DataView(new ArrayBuffer(4)), new DataView(new ArrayBuffer(4))];
  const type = new TextEncoder().encode(name);
  length.setUint32(0, data.length);
  crc.setUint32(0, ~crcOf(data, crcOf(type, ~0)));
  return [length, type, data, crc];
}

const CRCS = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? 0xedb88320 ^ (crc >>> 1) : crc >>> 1;
  return crc;
});

/** CRC-32 of some bytes, which goes on from that of those before; the first is ~0, and the last one's complement counts. */
export function crcOf(bytes, crc) {
  for (let i = 0; i < bytes.length; i++) crc = CRCS[(crc ^ bytes[i]) & 255] ^ (crc >>> 8);
  return crc;
}
