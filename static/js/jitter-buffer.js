// Holds samples between the network, which is uneven, and the loudspeaker, which is not.
//
//   waiting --margin reached, or nothing more is due--> playing
//   playing --too little left--> fades out --> waiting
//
// A margin that proved too small grows with each underrun. The design is that of kyutai's unmute
// (start margin, growth, fades, drop of the oldest), the arithmetic is our own.

/**
 * @typedef {object} JitterStats
 * @property {number} bufferedMs
 * @property {number | null} minBufferedMs lowest while more audio was due; null before any playback
 * @property {number} underruns how often it ran dry while more audio was due
 * @property {number} underrunMs silence that they made
 * @property {number} pauses how often it ran dry after `rest()`
 * @property {number} playedS
 * @property {number} droppedMs lost to overflow
 * @property {number} startMs the margin now
 */

export class JitterBuffer {
  #chunks = [];
  #head = 0;
  #offset = 0;
  #available = 0;
  #playing = false;
  #starving = false;
  #gain = 0;
  #due = "more"; // "more" | "rest" | "end"
  #dry = "none"; // why it is silent: "none" | "underrun" | "pause"
  #startSamples;
  #minSamples = Infinity;
  #underruns = 0;
  #underrunSamples = 0;
  #pauses = 0;
  #played = 0;
  #dropped = 0;

  /**
   * @param {object} options
   * @param {number} options.sampleRate Hz
   * @param {number} [options.startMs] audio that must be there before playback starts
   * @param {number} [options.growMs] added to it after each underrun. Half a frame of the server:
   *   every underrun is heard, so the margin must not need many of them
   * @param {number} [options.maxStartMs] where growing ends
   * @param {number} [options.capacityS] audio kept at most. A whole text arrives much faster than
   *   it is heard, so this is long; memory is only taken for what is there
   * @param {number} [options.fadeMs] length of the fades that keep starts and stops from clicking
   */
  constructor({
    sampleRate,
    startMs = 80,
    growMs = 50,
    maxStartMs = 1000,
    capacityS = 3600,
    fadeMs = 5,
  }) {
    this.sampleRate = sampleRate;
    this.#startSamples = this.#samples(startMs);
    this.growSamples = this.#samples(growMs);
    this.maxStartSamples = this.#samples(maxStartMs);
    this.capacitySamples = this.#samples(1000 * capacityS);
    this.fadeSamples = Math.max(1, this.#samples(fadeMs));
  }

  /** Nothing is left and nothing will come. */
  get finished() {
    return this.#due === "end" && this.#available === 0;
  }

  /** @param {Float32Array} samples are kept, not copied */
  push(samples) {
    if (samples.length === 0) return;
    if (this.#due === "rest") this.#due = "more";
    this.#chunks.push(samples);
    this.#available += samples.length;
    const excess = this.#available - this.capacitySamples;
    if (excess > 0) {
      this.#skip(excess);
      this.#dropped += excess;
      // The jump is faded in like a start.
      this.#gain = 0;
    }
  }

  /** Nothing more is due until the next `push`: running dry is a pause, not an underrun. */
  rest() {
    if (this.#due === "more") this.#due = "rest";
  }

  /** Nothing comes any more; what is there is played out. */
  end() {
    this.#due = "end";
  }

  /**
   * Throws away what has not been played, but for a fade of a few milliseconds.
   *
   * @returns {number} ms thrown away
   */
  clear() {
    const keep = this.#playing ? Math.min(this.fadeSamples, this.#available) : 0;
    const cleared = this.#available - keep;
    this.#chunks = keep ? [this.#take(keep)] : [];
    this.#head = 0;
    this.#offset = 0;
    this.#available = keep;
    this.#due = "end";
    return this.#ms(cleared);
  }

  /**
   * Fills `out` with the next samples, or silence.
   *
   * @param {Float32Array} out
   * @returns {{audible: boolean, starved: boolean}} audible: samples of the stream are in it;
   *   starved: an underrun begins in it
   */
  pull(out) {
    if (!this.#playing) this.#tryStart();
    if (!this.#playing) {
      if (this.#dry === "underrun" && this.#due === "more") this.#underrunSamples += out.length;
      out.fill(0);
      return { audible: false, starved: false };
    }
    // What is kept back is exactly a fade out, so that running dry never cuts.
    if (this.#due === "more") {
      this.#starving = this.#available < out.length + this.fadeSamples;
      this.#minSamples = Math.min(this.#minSamples, this.#available);
    } else {
      this.#starving = false;
    }
    const written = this.#write(out);
    out.fill(0, written);
    const starved = this.#stopIfDry(out.length - written);
    return { audible: written > 0, starved };
  }

  /** @returns {JitterStats} */
  stats() {
    return {
      bufferedMs: this.#ms(this.#available),
      minBufferedMs: this.#minSamples === Infinity ? null : this.#ms(this.#minSamples),
      underruns: this.#underruns,
      underrunMs: this.#ms(this.#underrunSamples),
      pauses: this.#pauses,
      playedS: this.#played / this.sampleRate,
      droppedMs: this.#ms(this.#dropped),
      startMs: this.#ms(this.#startSamples),
    };
  }

  #tryStart() {
    const enough = this.#due === "more" ? this.#startSamples : 1;
    if (this.#available < Math.max(1, enough)) return;
    this.#playing = true;
    this.#dry = "none";
    this.#gain = 0;
  }

  /** Copies with the gain; ends early where the fade out reaches silence. */
  #write(out) {
    const step = 1 / this.fadeSamples;
    let written = 0;
    while (written < out.length && this.#available > 0) {
      const chunk = this.#chunks[this.#head];
      const count = Math.min(out.length - written, chunk.length - this.#offset);
      for (let i = 0; i < count; i += 1) {
        this.#gain += this.#starving ? -step : step;
        // The end of the stream is a fade as well.
        const left = this.#due === "more" ? 1 : (this.#available - i) * step;
        this.#gain = Math.max(0, Math.min(1, this.#gain, left));
        out[written + i] = chunk[this.#offset + i] * this.#gain;
      }
      written += count;
      this.#skip(count);
      if (this.#starving && this.#gain === 0) break;
    }
    this.#played += written;
    return written;
  }

  #stopIfDry(silentSamples) {
    const faded = this.#starving && this.#gain === 0;
    if (!faded && this.#available > 0) return false;
    this.#playing = false;
    if (this.#due === "end") return false;
    if (this.#due === "rest") {
      this.#pauses += 1;
      this.#dry = "pause";
      return false;
    }
    this.#dry = "underrun";
    this.#underruns += 1;
    this.#underrunSamples += silentSamples;
    this.#startSamples = Math.min(
      this.#startSamples + this.growSamples,
      Math.max(this.#startSamples, this.maxStartSamples),
    );
    return true;
  }

  #skip(count) {
    this.#available -= count;
    while (count > 0) {
      const chunk = this.#chunks[this.#head];
      const step = Math.min(count, chunk.length - this.#offset);
      this.#offset += step;
      count -= step;
      if (this.#offset === chunk.length) {
        this.#chunks[this.#head] = null;
        this.#head += 1;
        this.#offset = 0;
      }
    }
    // Shifting an array at each chunk would be slow, never shifting it would leak.
    if (this.#head > 256 && 2 * this.#head > this.#chunks.length) {
      this.#chunks.splice(0, this.#head);
      this.#head = 0;
    }
  }

  #take(count) {
    const taken = new Float32Array(count);
    let at = 0;
    for (let i = this.#head; at < count; i += 1) {
      const from = i === this.#head ? this.#offset : 0;
      const part = this.#chunks[i].subarray(from, from + count - at);
      taken.set(part, at);
      at += part.length;
    }
    return taken;
  }

  #samples(ms) {
    return Math.round((ms * this.sampleRate) / 1000);
  }

  #ms(samples) {
    return (1000 * samples) / this.sampleRate;
  }
}
