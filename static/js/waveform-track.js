// A growing recording, ready to be drawn at any scale.

const BUCKET = 64;

/** Samples with their peaks per 64, and where chunks begin. */
export class WaveformTrack {
  length = 0;
  /** First samples of chunks, without the very first. */
  borders = [];
  #samples = new Int16Array(1 << 16);
  #lows = new Int16Array(1 << 10);
  #highs = new Int16Array(1 << 10);

  /**
   * @param {Float32Array} added
   * @param {boolean} chunk a border is drawn where it begins
   */
  push(added, chunk) {
    if (chunk && this.length) this.borders.push(this.length);
    const begin = this.length;
    this.length += added.length;
    this.#samples = grown(this.#samples, this.length);
    for (let i = 0; i < added.length; i += 1) {
      this.#samples[begin + i] = Math.max(-32768, Math.min(32767, added[i] * 32768));
    }
    const buckets = Math.ceil(this.length / BUCKET);
    this.#lows = grown(this.#lows, buckets);
    this.#highs = grown(this.#highs, buckets);
    for (let bucket = Math.floor(begin / BUCKET); bucket < buckets; bucket += 1) {
      const [low, high] = this.#scan(bucket * BUCKET, Math.min(this.length, (bucket + 1) * BUCKET));
      this.#lows[bucket] = low;
      this.#highs[bucket] = high;
    }
  }

  /**
   * @param {number} index
   * @returns {number} in [-1, 1)
   */
  at(index) {
    return this.#samples[index] / 32768;
  }

  /**
   * @param {number} begin
   * @param {number} end at least one sample is looked at
   * @returns {[number, number]} lowest and highest in it, in [-1, 1)
   */
  peak(begin, end) {
    const from = Math.floor(begin);
    const to = Math.min(this.length, Math.max(from + 1, Math.ceil(end)));
    if (to - from < 2 * BUCKET) return this.#scan(from, to).map((value) => value / 32768);
    let low = 32767;
    let high = -32768;
    for (let bucket = Math.floor(from / BUCKET); bucket * BUCKET < to; bucket += 1) {
      if (this.#lows[bucket] < low) low = this.#lows[bucket];
      if (this.#highs[bucket] > high) high = this.#highs[bucket];
    }
    return [low / 32768, high / 32768];
  }

  /**
   * How much a border sticks out: a click is a step much larger than the steps beside it.
   *
   * @param {number} border first sample of a chunk
   * @param {number} [around] samples on either side
   * @returns {{step: number, beside: number}} largest differences of neighbours, of full scale
   */
  joinSteps(border, around = 120) {
    const difference = (i) => Math.abs(this.at(i) - this.at(i - 1));
    let beside = 0;
    const last = Math.min(this.length - 1, border + around);
    for (let i = Math.max(1, border - around); i <= last; i += 1) {
      if (i !== border) beside = Math.max(beside, difference(i));
    }
    return { step: difference(border), beside };
  }

  #scan(begin, end) {
    let low = 32767;
    let high = -32768;
    for (let i = begin; i < end; i += 1) {
      const value = this.#samples[i];
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return end > begin ? [low, high] : [0, 0];
  }
}

function grown(array, length) {
  if (length <= array.length) return array;
  const larger = new Int16Array(Math.max(length, 2 * array.length));
  larger.set(array);
  return larger;
}
