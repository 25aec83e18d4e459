// The WAV header, written and read.

export const WAV_HEADER_BYTES = 44;
/** Stands where the length was not known when the header was written. */
export const UNKNOWN_BYTES = 0xffffffff;

const PCM = 1;
const EXTENSIBLE = 0xfffe;

/**
 * @param {number} dataBytes length of the samples
 * @param {number} sampleRate Hz
 * @returns {ArrayBuffer} 44 bytes: mono, signed 16 bit
 */
export function wavHeader(dataBytes, sampleRate) {
  const view = new DataView(new ArrayBuffer(WAV_HEADER_BYTES));
  const name = (at, text) => [...text].forEach((c, i) => view.setUint8(at + i, c.charCodeAt(0)));
  name(0, "RIFF");
  view.setUint32(4, Math.min(UNKNOWN_BYTES, dataBytes + WAV_HEADER_BYTES - 8), true);
  name(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, PCM, true);
  view.setUint16(22, 1, true);
  view.setUint32(24, sampleRate, true);
  view.setUint32(28, 2 * sampleRate, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  name(36, "data");
  view.setUint32(40, Math.min(UNKNOWN_BYTES, dataBytes), true);
  return view.buffer;
}

/** The bytes are no WAV file, or one with other samples than mono signed 16 bit. */
export class WavError extends Error {}

/** Takes the header off a stream of pieces of any size. */
export class WavReader {
  #head = new Uint8Array(0);
  #left = UNKNOWN_BYTES;
  /** Hz; null until the header is complete. */
  sampleRate = null;

  /**
   * @param {ArrayBuffer} buffer
   * @returns {ArrayBuffer} the samples in it, empty while the header is incomplete
   * @throws {WavError}
   */
  push(buffer) {
    if (this.sampleRate !== null) return this.#samples(buffer);
    const head = new Uint8Array(this.#head.length + buffer.byteLength);
    head.set(this.#head);
    head.set(new Uint8Array(buffer), this.#head.length);
    this.#head = head;
    const begin = this.#readHeader(new DataView(head.buffer));
    if (begin === null) return new ArrayBuffer(0);
    this.#head = new Uint8Array(0);
    return this.#samples(head.buffer.slice(begin));
  }

  /** What follows the samples (chunks with names and dates) is no sound. */
  #samples(buffer) {
    if (this.#left === UNKNOWN_BYTES) return buffer;
    const taken = Math.min(this.#left, buffer.byteLength);
    this.#left -= taken;
    return buffer.slice(0, taken);
  }

  #readHeader(view) {
    if (view.byteLength < 12) return null;
    if (fourCharacters(view, 0) !== "RIFF" || fourCharacters(view, 8) !== "WAVE") {
      throw new WavError("the audio is not a WAV file");
    }
    let sampleRate = null;
    for (let at = 12; at + 8 <= view.byteLength; ) {
      const id = fourCharacters(view, at);
      const size = view.getUint32(at + 4, true);
      if (id === "data") {
        if (sampleRate === null) throw new WavError("the WAV file has no format");
        this.sampleRate = sampleRate;
        this.#left = size;
        return at + 8;
      }
      if (at + 8 + size > view.byteLength) return null;
      if (id === "fmt ") sampleRate = readFormat(view, at + 8);
      at += 8 + size + (size % 2);
    }
    return null;
  }
}

function readFormat(view, at) {
  const kind = view.getUint16(at, true);
  const channels = view.getUint16(at + 2, true);
  const bits = view.getUint16(at + 14, true);
  if ((kind !== PCM && kind !== EXTENSIBLE) || channels !== 1 || bits !== 16) {
    throw new WavError(`WAV of kind ${kind} with ${channels} channels of ${bits} bits`);
  }
  return view.getUint32(at + 4, true);
}

function fourCharacters(view, at) {
  return String.fromCharCode(...[0, 1, 2, 3].map((i) => view.getUint8(at + i)));
}
