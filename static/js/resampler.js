// A resampler with state: pieces of any size give the same samples as the whole at once.
//
// Windowed sinc interpolation at the exact place of each output sample. It is needed only where a
// browser refuses an AudioContext with the stream's own rate.

const ZEROS = 16; // zero crossings of the sinc on each side
const STEPS = 512; // table entries from one to the next

export class Resampler {
  #fromHz;
  #toHz;
  #cutoff;
  #reach;
  #table = sincTable();
  #history;
  // The next output sample lies at index + phase / toHz of the history: whole numbers, because
  // rounding would add up.
  #index;
  #phase = 0;

  /** @param {{fromHz: number, toHz: number}} rates whole numbers */
  constructor({ fromHz, toHz }) {
    this.#fromHz = fromHz;
    this.#toHz = toHz;
    // Going down, what the lower rate cannot carry has to be filtered out.
    this.#cutoff = Math.min(1, toHz / fromHz);
    this.#reach = Math.ceil(ZEROS / this.#cutoff);
    this.#history = new Float32Array(this.#reach);
    this.#index = this.#reach;
  }

  /**
   * @param {Float32Array} samples
   * @returns {Float32Array} what can be computed by now; some ms stay until the next call
   */
  push(samples) {
    const input = new Float32Array(this.#history.length + samples.length);
    input.set(this.#history);
    input.set(samples, this.#history.length);
    const output = [];
    while (this.#index + this.#reach < input.length) {
      output.push(this.#interpolate(input));
      this.#phase += this.#fromHz;
      this.#index += Math.floor(this.#phase / this.#toHz);
      this.#phase %= this.#toHz;
    }
    const used = Math.min(input.length, this.#index - this.#reach);
    this.#history = input.slice(used);
    this.#index -= used;
    return Float32Array.from(output);
  }

  /** @returns {Float32Array} the rest; the stream is over */
  flush() {
    return this.push(new Float32Array(this.#reach));
  }

  #interpolate(input) {
    const offset = this.#phase / this.#toHz;
    let sum = 0;
    for (let i = 1 - this.#reach; i <= this.#reach; i += 1) {
      const at = Math.abs(offset - i) * this.#cutoff * STEPS;
      const below = Math.floor(at);
      const low = this.#table[below];
      sum += input[this.#index + i] * (low + (at - below) * (this.#table[below + 1] - low));
    }
    return sum * this.#cutoff;
  }
}

/** Half a sinc under a Hann window, from its middle to its end and some silence beyond. */
function sincTable() {
  const table = new Float32Array((ZEROS + 1) * STEPS + 2);
  table[0] = 1;
  for (let i = 1; i < ZEROS * STEPS; i += 1) {
    const x = (Math.PI * i) / STEPS;
    table[i] = (Math.sin(x) / x) * (0.5 + 0.5 * Math.cos(x / ZEROS));
  }
  return table;
}
