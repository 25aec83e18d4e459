// Holds samples between the network, which is uneven, and the loudspeaker, which is not.
//
//   waiting --the margin is there, or nothing more is due--> playing
//   playing --too little is left--> fades out --> waiting
//
// A margin that proved too small grows. Start margin, growth, fades and dropping the oldest follow
// the player of kyutai's unmute.

import { SampleQueue } from "./sample-queue.js";

/**
 * @typedef {object} JitterStats
 * @property {number} bufferedMs
 * @property {number | null} minBufferedMs lowest while more was due; null before any playback
 * @property {number} underruns how often it ran dry while more was due
 * @property {number} underrunMs silence that they made
 * @property {number} pauses how often it ran dry after `rest()`
 * @property {number} playedS
 * @property {number} droppedMs lost to overflow
 * @property {number} startMs the margin by now
 */

export class JitterBuffer {
  #queue = new SampleQueue();
  /** @type {"more" | "rest" | "end"} */
  #due = "more";
  #playing = false;
  #underrun = false; // is silent because of one
  #level = 0; // 0 to fadeSamples: how far a fade is
  #startSamples;
  #growSamples;
  #maxStartSamples;
  #capacitySamples;
  #fadeSamples;
  #minSamples = Infinity;
  #underruns = 0;
  #underrunSamples = 0;
  #pauses = 0;
  #playedSamples = 0;
  #droppedSamples = 0;

  /**
   * @param {object} options
   * @param {number} options.sampleRate Hz
   * @param {number} [options.startMs] audio that must be there before playback starts
   * @param {number} [options.growMs] is added to it after each underrun. Half a frame of the
   *   server: underruns are heard, so it must not take many of them
   * @param {number} [options.maxStartMs] where that ends
   * @param {number} [options.capacityS] audio that is kept at most. A whole text arrives much
   *   faster than it is heard, so this is long; memory is taken only for what is there
   * @param {number} [options.fadeMs] of the fades that keep starts and stops from clicking
   */
  constructor({
    sampleRate,
    startMs = 80,
    growMs = 50,
    maxStartMs = 1000,
    capacityS = 3600,
    fadeMs = 5,
  }) {
    const samples = (ms) => Math.round((ms * sampleRate) / 1000);
    this.sampleRate = sampleRate;
    this.#startSamples = samples(startMs);
    this.#growSamples = samples(growMs);
    this.#maxStartSamples = Math.max(samples(startMs), samples(maxStartMs));
    this.#capacitySamples = samples(1000 * capacityS);
    this.#fadeSamples = Math.max(1, samples(fadeMs));
  }

  /** Nothing is left and nothing will come. */
  get finished() {
    return this.#due === "end" && this.#queue.length === 0;
  }

  /** @param {Float32Array} samples are kept, not copied */
  push(samples) {
    if (samples.length === 0) return;
    if (this.#due === "rest") this.#due = "more";
    this.#queue.push(samples);
    const excess = this.#queue.length - this.#capacitySamples;
    if (excess > 0) this.#drop(excess);
  }

  /** Nothing is due until the next `push`: running dry is a pause, not an underrun. */
  rest() {
    if (this.#due === "more") this.#due = "rest";
  }

  /** Nothing comes any more; what is there is played out. */
  end() {
    this.#due = "end";
  }

  /**
   * Throws away what has not been played, but for a fade of some ms.
   *
   * @returns {number} ms thrown away
   */
  clear() {
    const fade = new Float32Array(this.#playing ? this.#fadeLength() : 0);
    this.#queue.read(fade, fade.length);
    const cleared = this.#queue.length;
    this.#queue.skip(cleared);
    this.#queue.push(fade);
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
    if (!this.#playing) this.#tryStart(out.length);
    if (!this.#playing) {
      if (this.#underrun && this.#due === "more") this.#underrunSamples += out.length;
      out.fill(0);
      return { audible: false, starved: false };
    }
    const due = this.#due === "more";
    if (due) this.#minSamples = Math.min(this.#minSamples, this.#queue.length);
    // One fade out is always kept back while more is due, so that running dry never cuts.
    const starving = due && this.#queue.length < out.length + this.#fadeSamples;
    const written = starving ? this.#writeFadeOut(out) : this.#write(out, due);
    out.fill(0, written);
    this.#playedSamples += written;
    if (starving ? this.#level === 0 : this.#queue.length === 0) {
      return { audible: written > 0, starved: this.#runDry(out.length - written) };
    }
    return { audible: written > 0, starved: false };
  }

  /** @returns {JitterStats} */
  stats() {
    return {
      bufferedMs: this.#ms(this.#queue.length),
      minBufferedMs: this.#minSamples === Infinity ? null : this.#ms(this.#minSamples),
      underruns: this.#underruns,
      underrunMs: this.#ms(this.#underrunSamples),
      pauses: this.#pauses,
      playedS: this.#playedSamples / this.sampleRate,
      droppedMs: this.#ms(this.#droppedSamples),
      startMs: this.#ms(this.#startSamples),
    };
  }

  #tryStart(blockSamples) {
    // Less than a block and a fade would run dry at once.
    const margin = Math.max(this.#startSamples, blockSamples + this.#fadeSamples);
    if (this.#queue.length < (this.#due === "more" ? margin : 1)) return;
    this.#playing = true;
    this.#underrun = false;
    this.#level = 0;
  }

  #write(out, due) {
    const left = this.#queue.length;
    const count = Math.min(out.length, left);
    this.#queue.read(out, count);
    const fade = this.#fadeSamples;
    for (let i = 0; i < count; i += 1) {
      this.#level = Math.min(fade, this.#level + 1);
      // The last samples before the end, or a pause, fade out.
      if (!due) this.#level = Math.min(this.#level, left - i);
      out[i] *= this.#level / fade;
    }
    return count;
  }

  #writeFadeOut(out) {
    const count = Math.min(out.length, this.#queue.length, this.#level);
    this.#queue.read(out, count);
    for (let i = 0; i < count; i += 1) {
      this.#level -= 1;
      out[i] *= this.#level / this.#fadeSamples;
    }
    if (this.#queue.length === 0) this.#level = 0;
    return count;
  }

  #runDry(silentSamples) {
    this.#playing = false;
    if (this.#due === "rest") this.#pauses += 1;
    if (this.#due !== "more") return false;
    this.#underrun = true;
    this.#underruns += 1;
    this.#underrunSamples += silentSamples;
    const grown = this.#startSamples + this.#growSamples;
    this.#startSamples = Math.min(grown, this.#maxStartSamples);
    return true;
  }

  /** Drops the oldest; while it plays, the jump is a crossfade. */
  #drop(count) {
    const length = this.#playing ? Math.min(this.#fadeLength(), count) : 0;
    const before = new Float32Array(length);
    const after = new Float32Array(length);
    this.#queue.read(before, length);
    this.#queue.skip(count - length);
    this.#queue.read(after, length);
    for (let i = 0; i < length; i += 1) {
      after[i] += ((length - i) / (length + 1)) * (before[i] - after[i]);
    }
    if (length) this.#queue.unshift(after);
    this.#droppedSamples += count;
  }

  #fadeLength() {
    return Math.min(this.#fadeSamples, this.#queue.length);
  }

  #ms(samples) {
    return (1000 * samples) / this.sampleRate;
  }
}
