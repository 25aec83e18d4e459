// What came of one task's audio: its bytes, and its samples as far as they can be told.

import { audioFile } from "./files.js";
import { PcmReader } from "./pcm.js";
import { WavReader } from "./wav.js";

export class Recording {
  /** @type {ArrayBuffer[]} */
  chunks = [];
  bytes = 0;
  #pcm = new PcmReader();
  #wav;

  /** @param {{format: string, sampleRate: number}} stream Hz */
  constructor({ format, sampleRate }) {
    this.format = format;
    this.sampleRate = sampleRate;
    this.#wav = format === "wav" ? new WavReader() : null;
  }

  /** Samples can be told from the bytes as they come. */
  get readable() {
    return this.format === "pcm" || this.format === "wav";
  }

  /**
   * @param {ArrayBuffer} chunk
   * @returns {Float32Array | null} its samples; null for a codec's packets
   */
  push(chunk) {
    this.chunks.push(chunk);
    this.bytes += chunk.byteLength;
    if (!this.readable) return null;
    return this.#pcm.push(this.#wav ? this.#wav.push(chunk) : chunk);
  }

  /** @returns {{blob: Blob, extension: string}} */
  file() {
    return audioFile(this.chunks, this);
  }

  /**
   * The whole audio, decoded by the browser.
   *
   * @returns {Promise<Float32Array | null>} null: the browser does not know the codec
   */
  async decode() {
    const context = new OfflineAudioContext(1, 1, this.sampleRate);
    const bytes = await this.file().blob.arrayBuffer();
    try {
      return (await context.decodeAudioData(bytes)).getChannelData(0);
    } catch (error) {
      if (error.name === "EncodingError") return null;
      throw error;
    }
  }
}
