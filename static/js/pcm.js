// Signed 16 bit little endian PCM to Float32Array and back.

const FULL_SCALE = 32768;

/**
 * @param {ArrayBuffer} buffer whole samples, signed 16 bit little endian
 * @returns {Float32Array} values in [-1, 1)
 * @throws {RangeError} the length is odd; `PcmReader` takes such pieces
 */
export function s16ToFloat(buffer) {
  if (buffer.byteLength % 2 !== 0) throw new RangeError("half a sample: an odd number of bytes");
  const view = new DataView(buffer);
  const samples = new Float32Array(buffer.byteLength / 2);
  for (let i = 0; i < samples.length; i += 1) samples[i] = view.getInt16(2 * i, true) / FULL_SCALE;
  return samples;
}

/**
 * @param {Float32Array} samples values beyond [-1, 1] are clipped
 * @returns {ArrayBuffer} signed 16 bit little endian
 */
export function floatToS16(samples) {
  const view = new DataView(new ArrayBuffer(2 * samples.length));
  for (let i = 0; i < samples.length; i += 1) {
    const value = Math.round(samples[i] * FULL_SCALE);
    view.setInt16(2 * i, Math.max(-FULL_SCALE, Math.min(FULL_SCALE - 1, value)), true);
  }
  return view.buffer;
}

/**
 * The lowest and highest value in each of `buckets` equal parts, for drawing.
 *
 * @param {Float32Array} samples
 * @param {number} buckets
 * @returns {Array<[number, number]>} `[min, max]` per bucket; a bucket between two samples shows
 *   the one before it, and silence if there are none at all
 */
export function peaks(samples, buckets) {
  const result = [];
  for (let bucket = 0; bucket < buckets; bucket += 1) {
    const begin = Math.floor((bucket * samples.length) / buckets);
    const end = Math.max(begin + 1, Math.floor(((bucket + 1) * samples.length) / buckets));
    let low = samples.length ? Infinity : 0;
    let high = samples.length ? -Infinity : 0;
    for (let i = begin; i < end && i < samples.length; i += 1) {
      if (samples[i] < low) low = samples[i];
      if (samples[i] > high) high = samples[i];
    }
    result.push([low, high]);
  }
  return result;
}

/** Reads a stream of pieces of any size; a sample may be cut between two of them. */
export class PcmReader {
  /** @type {number | null} */
  #low = null;

  /**
   * @param {ArrayBuffer} buffer
   * @returns {Float32Array} the samples that are whole by now
   */
  push(buffer) {
    if (this.#low === null && buffer.byteLength % 2 === 0) return s16ToFloat(buffer);
    const carried = this.#low === null ? 0 : 1;
    const bytes = new Uint8Array(carried + buffer.byteLength);
    if (this.#low !== null) bytes[0] = this.#low;
    bytes.set(new Uint8Array(buffer), carried);
    const whole = bytes.length - (bytes.length % 2);
    this.#low = whole < bytes.length ? bytes[whole] : null;
    return s16ToFloat(bytes.buffer.slice(0, whole));
  }
}
