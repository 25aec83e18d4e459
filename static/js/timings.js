// When what happened in one task. Times are ms of performance.now(); nothing here reads a clock.

import { median, percentile } from "./statistics.js";

/**
 * @typedef {object} Numbers null where something has not happened (yet)
 * @property {number | null} connectMs from asking for the connection to having it
 * @property {number | null} startedMs from StartSynthesis to SynthesisStarted
 * @property {number | null} firstFrameMs from the first text to the first audio frame
 * @property {number | null} firstAudibleMs from the first text to the loudspeaker
 * @property {number | null} totalMs from the first text to SynthesisCompleted
 * @property {number} chunks
 * @property {number | null} gapP50Ms between audio frames
 * @property {number | null} gapP95Ms
 * @property {number | null} gapMaxMs
 * @property {number} audioS
 * @property {number | null} rtf from the first text to the last frame, per second of audio. It
 *   includes waiting for text, so it says little while text trickles in
 */

/**
 * @typedef {"connect" | "connected" | "start" | "started" | "text" | "audible" | "completed"} Mark
 */

export class Timings {
  /** @type {Map<Mark, number>} */
  #marks = new Map();
  #arrivalsMs = [];
  #audioS = 0;

  /**
   * The first time counts.
   *
   * @param {Mark} name
   * @param {number} atMs
   */
  mark(name, atMs) {
    if (!this.#marks.has(name)) this.#marks.set(name, atMs);
  }

  /**
   * An audio frame has arrived.
   *
   * @param {number} atMs
   * @param {number} [audioS] its length, where the format tells
   */
  chunk(atMs, audioS = 0) {
    this.#arrivalsMs.push(atMs);
    this.#audioS += audioS;
  }

  /**
   * The audio's length so far, for formats that do not tell it chunk by chunk.
   *
   * @param {number} audioS
   */
  setAudioS(audioS) {
    this.#audioS = audioS;
  }

  /** @returns {Numbers} */
  numbers() {
    const arrivals = this.#arrivalsMs;
    const gaps = arrivals.slice(1).map((atMs, i) => atMs - arrivals[i]);
    const textMs = this.#marks.get("text");
    const lastMs = arrivals.at(-1);
    const complete = textMs !== undefined && lastMs !== undefined && this.#audioS > 0;
    return {
      connectMs: this.#between("connect", this.#marks.get("connected")),
      startedMs: this.#between("start", this.#marks.get("started")),
      firstFrameMs: this.#between("text", arrivals[0]),
      firstAudibleMs: this.#between("text", this.#marks.get("audible")),
      totalMs: this.#between("text", this.#marks.get("completed")),
      chunks: arrivals.length,
      gapP50Ms: median(gaps),
      gapP95Ms: percentile(gaps, 95),
      gapMaxMs: percentile(gaps, 100),
      audioS: this.#audioS,
      rtf: complete ? (lastMs - textMs) / 1000 / this.#audioS : null,
    };
  }

  #between(from, endMs) {
    const beginMs = this.#marks.get(from);
    return beginMs === undefined || endMs === undefined ? null : endMs - beginMs;
  }
}

/**
 * What a listener would have heard who plays each frame as it comes, after a margin.
 *
 * @param {Array<{atMs: number, audioS: number}>} chunks
 * @param {number} [startMs] the margin: playback starts that long after the first frame
 * @returns {{underruns: number, underrunMs: number}}
 */
export function simulatePlayback(chunks, startMs = 80) {
  let dryMs = null;
  let underruns = 0;
  let underrunMs = 0;
  for (const { atMs, audioS } of chunks) {
    if (dryMs === null) dryMs = atMs + startMs;
    else if (atMs > dryMs) {
      underruns += 1;
      underrunMs += atMs - dryMs;
      dryMs = atMs;
    }
    dryMs += 1000 * audioS;
  }
  return { underruns, underrunMs };
}
