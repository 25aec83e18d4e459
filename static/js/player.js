// Plays a stream while it arrives, by the best way that the browser has for its format.

import { MediaSourceOutput } from "./media-source-output.js";
import { WebAudioOutput } from "./web-audio-output.js";
import { WholeFileOutput } from "./whole-file-output.js";

/**
 * @typedef {object} PlayerStats
 * @property {"worklet" | "script-processor" | "media-source" | "whole-file"} path
 * @property {number} playedS audio given to the loudspeaker
 * @property {number} positionS audio that is heard right now
 * @property {number} bufferedMs
 * @property {number | null} minBufferedMs lowest while more was due; null before any playback
 * @property {number} underruns
 * @property {number} underrunMs
 * @property {number} pauses how often it ran dry after `rest()`, which is no underrun
 * @property {number} droppedMs
 * @property {number} startMs margin that playback starts with
 *
 * @typedef {object} Output one way to play
 * @property {PlayerStats["path"]} path
 * @property {(chunk: ArrayBuffer) => void} push
 * @property {() => void} rest
 * @property {() => void} finish
 * @property {() => Promise<number>} stop
 * @property {() => PlayerStats} stats
 */

/**
 * One player per stream. Events:
 *
 *   audible   {atMs}: the first sample reaches the loudspeaker, in ms of performance.now(); once
 *   underrun  {atMs}
 *   position  {positionS}, about ten a second while it plays
 *   ended     {}: all was heard; not after stop()
 *   failed    {adviceKey, text}: the browser cannot play it. adviceKey is "autoplay" (needs a
 *             click), "undecodable" or "no-device"
 */
export class Player extends EventTarget {
  #output;

  /**
   * Call it in the handler of a click or a key: browsers stay silent otherwise.
   *
   * @param {object} options
   * @param {string} options.format pcm, wav, mp3, opus, aac, flac
   * @param {number} options.sampleRate Hz
   * @param {AudioContext} [options.audioContext] is used and left open; any rate will do. Without
   *   it one is made with the stream's rate and closed in the end
   * @param {object} [options.jitter] options of the JitterBuffer
   * @returns {Promise<Player>}
   */
  static async create({ format, sampleRate, audioContext, jitter }) {
    const player = new Player();
    const emit = (type, detail = {}) => player.dispatchEvent(new CustomEvent(type, { detail }));
    const stream = { format: format.toLowerCase(), sampleRate };
    if (WebAudioOutput.plays(stream)) {
      player.#output = await WebAudioOutput.open({ ...stream, audioContext, jitter, emit });
    } else if (MediaSourceOutput.plays(stream)) {
      player.#output = new MediaSourceOutput({ ...stream, emit });
    } else {
      player.#output = new WholeFileOutput({ ...stream, emit });
    }
    return player;
  }

  /** How it plays: worklet, script-processor, media-source or whole-file. */
  get path() {
    return this.#output.path;
  }

  /** @param {ArrayBuffer} chunk the next bytes of the stream; stays the caller's */
  push(chunk) {
    this.#output.push(chunk);
  }

  /** Says that nothing is due until the next `push`: running dry is then no underrun. */
  rest() {
    this.#output.rest();
  }

  /** Says that the stream is complete. */
  finish() {
    this.#output.finish();
  }

  /**
   * Falls silent at once and throws away what was not heard.
   *
   * @returns {Promise<number>} ms until silence reached the loudspeaker
   */
  stop() {
    return this.#output.stop();
  }

  /** @returns {PlayerStats} */
  stats() {
    return this.#output.stats();
  }
}
