// A resampler with state: pieces of any size give the same samples as the whole at once.
//
// Windowed sinc interpolation at the exact position of each output sample. It is only needed where
// a browser refuses an AudioContext with the stream's own rate.

const ZEROS = 16; // zero crossings of the sinc on each side
const STEPS = 512; // table entries per zero crossing

export class Resampler {
  #step;
  #cutoff;
  #reach;
  #table;
  #history;
  #position;

  /** @param {{fromHz: number, toHz: number}} rates */
  constructor({ fromHz, toHz }) {
    this.#step = fromHz / toHz;
    // Going down, what the lower rate cannot carry has to be filtered out first.
    this.#cutoff = Math.min(1, toHz / fromHz);
    this.#reach = Math.ceil(ZEROS / this.#cutoff);
    this.#table = sincTable();
    this.#history = new Float32Array(this.#reach);
    this.#position = this.#reach;
  }

  /**
   * @param {Float32Array} samples
   * @returns {Float32Array} what can be computed by now; some ms stay until the next call
   */
  push(samples) {
    const input = new Float32Array(this.#history.length + samples.length);
    input.set(this.#history);
    input.set(samples, this.#history.length);
    const end = input.length - this.#reach;
    const count = Math.max(0, Math.ceil((end - this.#position) / this.#step));
    const output = new Float32Array(count);
    for (let i = 0; i < count; i += 1) {
      output[i] = this.#interpolate(input, this.#position + i * this.#step);
    }
    this.#position += count * this.#step;
    const used = Math.max(0, Math.floor(this.#position) - this.#reach);
    this.#history = input.slice(used);
    this.#position -= used;
    return output;
  }

  /** @returns {Float32Array} the rest; the stream is over */
  flush() {
    return this.push(new Float32Array(this.#reach));
  }

  #interpolate(input, position) {
    const first = Math.max(0, Math.ceil(position - this.#reach));
    const last = Math.min(input.length - 1, Math.floor(position + this.#reach));
    let sum = 0;
    for (let i = first; i <= last; i += 1) {
      const at = Math.abs(position - i) * this.#cutoff * STEPS;
      const below = Math.floor(at);
      const low = this.#table[below];
      sum += input[i] * (low + (at - below) * (this.#table[below + 1] - low));
    }
    return sum * this.#cutoff;
  }
}

/** Half of a sinc under a Hann window, from its middle to where it ends. */
function sincTable() {
  const table = new Float32Array(ZEROS * STEPS + 2);
  table[0] = 1;
  for (let i = 1; i < ZEROS * STEPS; i += 1) {
    const x = (Math.PI * i) / STEPS;
    table[i] = (Math.sin(x) / x) * (0.5 + 0.5 * Math.cos(x / ZEROS));
  }
  return table;
}
