/**
 * A zip archive written a file at a time, without compressing, as pictures are compressed already. What is written
 * lies on the disk where the browser has storage of its own (OPFS), else in Blobs, so memory does not grow with it.
 * Format: PKWARE's APPNOTE 6.3.10, with Zip64 where the archive is larger than 4 GiB or has more than 65,535 files.
 */

const UTF8 = 0x0800;
const VERSION = 45; // the first that knows Zip64
const PIECE = 2 ** 22; // bytes that are written at a time, or so many small parts
const MOST_PARTS = 500;
const MOST = 0xffffffff;
const MOST_FILES = 0xffff;

export class Zip {
  /** `sink` has `write(bytes or Blob)` and `finish()`, which resolves with the whole as a Blob. */
  constructor(sink) {
    Object.assign(this, { sink, at: 0, entries: [], names: new Map(), parts: [], size: 0 });
  }

  /** Add a file; `crc` is its CRC-32. Of files with one name, the later ones get a number. */
  async add(name, blob, crc) {
    const entry = { name: new TextEncoder().encode(this.unused(name)), size: blob.size, crc, at: this.at };
    await this.write(header(0x04034b50, [], entry));
    await this.write(blob);
    this.entries.push(entry);
  }

  /** The archive as a Blob. */
  async finish() {
    const start = this.at;
    for (const entry of this.entries) await this.write(header(0x02014b50, [[2, VERSION]], entry));
    await this.write(ending(this.entries.length, start, this.at - start));
    await this.flush();
    return this.sink.finish();
  }

  unused(name) {
    const [, stem, ending] = name.match(/^(.*?)(\.\w+)?$/s);
    const key = name.toLowerCase();
    let [unused, number] = [name, this.names.get(key) ?? 1];
    while (this.names.has(unused.toLowerCase())) unused = `${stem} (${++number})${ending ?? ""}`;
    this.names.set(key, number).set(unused.toLowerCase(), 1);
    return unused;
  }

  async write(part) {
    const size = part.size ?? part.length;
    this.parts.push(part);
    this.at += size;
    this.size += size;
    if (this.size >= PIECE || this.parts.length >= MOST_PARTS) await this.flush();
  }

  async flush() {
    await this.sink.write(new Blob(this.parts));
    Object.assign(this, { parts: [], size: 0 });
  }
}

/** The header before a file's bytes, or that in the directory, which has the place of the other. */
function header(signature, start, { name, size, crc, at }) {
  const isDirectory = start.length > 0;
  const isFar = isDirectory && at >= MOST;
  const extra = isFar ? packed([[2, 1], [2, 8], [8, at]]) : new Uint8Array();
  const time = dosTime(new Date());
  const common = [[2, VERSION], [2, UTF8], [2, 0], [4, time], [4, crc], [4, size], [4, size], [2, name.length], [2, extra.length]];
  const place = isDirectory ? [[2, 0], [2, 0], [2, 0], [4, 0], [4, isFar ? MOST : at]] : [];
  return joined(packed([[4, signature], ...start, ...common, ...place]), name, extra);
}

function ending(count, start, size) {
  const isLarge = count >= MOST_FILES || start >= MOST || size >= MOST;
  const record = [[4, 0x06064b50], [8, 44], [2, VERSION], [2, VERSION], [4, 0], [4, 0], [8, count], [8, count], [8, size], [8, start]];
  const locator = [[4, 0x07064b50], [4, 0], [8, start + size], [4, 1]];
  const [files, length, place] = isLarge ? [MOST_FILES, MOST, MOST] : [count, size, start];
  const end = [[4, 0x06054b50], [2, 0], [2, 0], [2, files], [2, files], [4, length], [4, place], [2, 0]];
  return packed([...(isLarge ? [...record, ...locator] : []), ...end]);
}

/** Numbers of [bytes, value], little-endian, one after the other. */
function packed(numbers) {
  const bytes = new Uint8Array(numbers.reduce((sum, [length]) => sum + length, 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const [length, value] of numbers) {
    if (length === 8) view.setBigUint64(at, BigInt(value), true);
    else view[length === 4 ? "setUint32" : "setUint16"](at, value, true);
    at += length;
  }
  return bytes;
}

function joined(...parts) {
  const bytes = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  parts.reduce((at, part) => (bytes.set(part, at), at + part.length), 0);
  return bytes;
}

/** The date in the upper 16 bits, the time in the lower ones. */
function dosTime(date) {
  const day = ((date.getFullYear() - 1980) << 9) | ((date.getMonth() + 1) << 5) | date.getDate();
  const time = (date.getHours() << 11) | (date.getMinutes() << 5) | (date.getSeconds() >> 1);
  return day * 65536 + time;
}

/** Where an archive is written: a file of the browser's own storage, else Blobs. */
export async function newSink() {
  try {
    const folder = await navigator.storage.getDirectory();
    const name = `pixelmill-${Date.now()}.zip`;
    const file = await folder.getFileHandle(name, { create: true });
    const stream = await file.createWritable();
    return {
      write: (part) => stream.write(part),
      finish: async () => (await stream.close(), file.getFile()),
      remove: async () => (await stream.abort().catch(() => {}), folder.removeEntry(name).catch(() => {})),
    };
  } catch {
    const parts = []; // plain http, or a browser without it
    return { write: async (part) => void parts.push(part), finish: async () => new Blob(parts), remove: async () => {} };
  }
}

/** Remove what is left of archives that a closed tab was writing. */
export async function sweep() {
  try {
    const folder = await navigator.storage.getDirectory();
    for await (const name of folder.keys()) {
      const [, made] = name.match(/^pixelmill-(\d+)\.zip$/) ?? [];
      if (made && Date.now() - made > 24 * 3600 * 1000) await folder.removeEntry(name);
    }
  } catch {
    // there is none
  }
}
