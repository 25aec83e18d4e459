// The microphone as a WAV file, with a level to look at.

import { wavFile } from "./files.js";
import { floatToS16 } from "./pcm.js";

const WORKLET = new URL("./capture-worklet.js", import.meta.url);
const MOST_S = 60;
const FLOOR_DB = -60;

/** Fires `level` with `{level, seconds}` (0 to 1, a share of 60 dB) and `full` after a minute. */
export class Recorder extends EventTarget {
  #stream = null;
  #context = null;
  #blocks = [];
  #samples = 0;

  get recording() {
    return this.#context !== null;
  }

  /**
   * Asks for the microphone and records until `stop`.
   *
   * @throws {DOMException} NotAllowedError, NotFoundError: no microphone for this page
   * @throws {TypeError} the page is no secure context, so browsers have none for it
   */
  async start() {
    this.#blocks = [];
    this.#samples = 0;
    // What makes calls clearer makes a voice less like itself.
    const audio = {
      channelCount: 1,
      echoCancellation: false,
      noiseSuppression: false,
      autoGainControl: false,
    };
    this.#stream = await navigator.mediaDevices.getUserMedia({ audio });
    const context = new AudioContext();
    this.#context = context;
    await context.audioWorklet.addModule(WORKLET);
    const node = new AudioWorkletNode(context, "capture", {
      numberOfOutputs: 0,
      channelCount: 1,
      channelCountMode: "explicit",
    });
    node.port.onmessage = ({ data }) => this.#take(data);
    context.createMediaStreamSource(this.#stream).connect(node);
  }

  /** @returns {Promise<Blob>} what was recorded, as WAV */
  async stop() {
    const { sampleRate } = this.#context;
    for (const track of this.#stream.getTracks()) track.stop();
    await this.#context.close();
    this.#context = this.#stream = null;
    return wavFile(this.#blocks, sampleRate);
  }

  #take(block) {
    if (!this.#context) return;
    this.#blocks.push(floatToS16(block));
    this.#samples += block.length;
    const seconds = this.#samples / this.#context.sampleRate;
    const power = block.reduce((sum, value) => sum + value * value, 0) / block.length;
    const level = Math.max(0, 1 - (10 * Math.log10(power + 1e-12)) / FLOOR_DB);
    this.dispatchEvent(new CustomEvent("level", { detail: { level, seconds } }));
    if (seconds >= MOST_S) this.dispatchEvent(new Event("full"));
  }
}
