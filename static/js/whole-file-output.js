// The last resort: what cannot be played while it arrives is played when it is complete.

import { audioFile } from "./files.js";
import { MediaElementOutput } from "./media-element-output.js";
import { WavError } from "./wav.js";

export class WholeFileOutput extends MediaElementOutput {
  path = "whole-file";
  #stream;
  #chunks = [];

  /** @param {{format: string, sampleRate: number, emit: Function}} options */
  constructor({ format, sampleRate, emit }) {
    super({ emit });
    this.#stream = { format, sampleRate };
    this.unlock();
  }

  push(chunk) {
    this.#chunks.push(chunk);
  }

  finish() {
    if (this.over) return;
    if (!this.#chunks.length) {
      this.ended();
      return;
    }
    let file;
    try {
      file = audioFile(this.#chunks, this.#stream);
    } catch (error) {
      if (!(error instanceof WavError)) throw error;
      this.fail("undecodable", error.message);
      return;
    }
    this.open(file.blob);
    this.play();
  }
}
