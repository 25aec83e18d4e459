// What runs beside the loudspeaker: bytes in, blocks of samples out, and reports of how it goes.
//
// It is the same in the AudioWorklet and in the ScriptProcessor of pages without one.

import { JitterBuffer } from "./jitter-buffer.js";
import { PcmReader } from "./pcm.js";
import { Resampler } from "./resampler.js";

const REPORTS_PER_S = 10;

/**
 * Messages in:  {type: "audio", data: ArrayBuffer, sampleRate}   s16 PCM, any number of bytes
 *               {type: "rest"}, {type: "end"}, {type: "clear"}
 * Messages out: {type: "stats", atS, stats}     about ten a second
 *               {type: "audible", atS}          playback (re)starts
 *               {type: "starved", atS}          an underrun begins
 *               {type: "ended", atS, stats}     all is played
 *               {type: "silent", atS, stats}    after clear
 * `atS` is the audio clock's time (AudioContext.currentTime).
 */
export class JitterEngine {
  #buffer;
  #reader = new PcmReader();
  #resampler = null;
  #sampleRate;
  #post;
  #audible = false;
  #cleared = false;
  #over = false;
  #untilReport = 0;

  /**
   * @param {object} options
   * @param {number} options.sampleRate of the loudspeaker, Hz
   * @param {(message: object) => void} options.post
   * @param {object} [options.jitter] options of the JitterBuffer
   */
  constructor({ sampleRate, post, jitter = {} }) {
    this.#sampleRate = sampleRate;
    this.#buffer = new JitterBuffer({ ...jitter, sampleRate });
    this.#post = post;
  }

  /** @param {{type: "audio" | "rest" | "end" | "clear"}} message */
  receive(message) {
    switch (message.type) {
      case "audio":
        this.#take(message);
        break;
      case "rest":
        this.#buffer.rest();
        break;
      case "end":
        if (this.#resampler) this.#buffer.push(this.#resampler.flush());
        this.#buffer.end();
        break;
      case "clear":
        this.#buffer.clear();
        this.#cleared = true;
        break;
      default:
        throw new TypeError(`no such message: ${message.type}`);
    }
  }

  /**
   * @param {Float32Array} out a block to fill
   * @param {number} atS when it is played
   * @returns {boolean} false: nothing will come any more
   */
  process(out, atS) {
    if (this.#over) {
      out.fill(0);
      return false;
    }
    const { audible, starved } = this.#buffer.pull(out);
    if (audible && !this.#audible) this.#post({ type: "audible", atS });
    if (starved) this.#post({ type: "starved", atS });
    this.#audible = audible;
    if (this.#buffer.finished) {
      this.#over = true;
      const type = this.#cleared ? "silent" : "ended";
      const endS = atS + out.length / this.#sampleRate;
      this.#post({ type, atS: endS, stats: this.#buffer.stats() });
      return false;
    }
    this.#untilReport -= out.length;
    if (this.#untilReport <= 0) {
      this.#untilReport += this.#sampleRate / REPORTS_PER_S;
      this.#post({ type: "stats", atS, stats: this.#buffer.stats() });
    }
    return true;
  }

  #take({ data, sampleRate }) {
    if (this.#cleared) return;
    let samples = this.#reader.push(data);
    if (sampleRate !== this.#sampleRate) {
      this.#resampler ??= new Resampler({ fromHz: sampleRate, toHz: this.#sampleRate });
      samples = this.#resampler.push(samples);
    }
    this.#buffer.push(samples);
  }
}
