// Where a task's text comes from. A source is a function that hands over pieces until there are
// no more, or until the signal says that nobody wants them.

import { pieces, schedule, speakPieces } from "./llm-simulator.js";

/**
 * @callback Source
 * @param {object} sink
 * @param {(piece: string) => boolean} sink.send false: the task is over
 * @param {AbortSignal} sink.signal
 * @param {(done: number, all: number) => void} [sink.progress]
 * @returns {Promise<unknown>} settles after the last piece
 */

/**
 * All at once.
 *
 * @param {string} text
 * @returns {Source}
 */
export function wholeText(text) {
  return async ({ send }) => send(text);
}

/**
 * Token by token, as a language model writes.
 *
 * @param {object} options
 * @param {string} options.text
 * @param {number} options.tokensPerSecond
 * @param {number} options.jitter 0 to 1
 * @param {number} options.seed
 * @returns {Source}
 */
export function simulatedLlm({ text, tokensPerSecond, jitter, seed }) {
  const all = pieces(text, seed);
  return ({ send, signal, progress }) =>
    speakPieces({
      pieces: all,
      delays: schedule({ tokensPerSecond, jitter, seed }),
      signal,
      send(piece, index) {
        progress?.(index + 1, all.length);
        return send(piece);
      },
    });
}

/**
 * Pieces with the delays that were recorded, from an exported frame log.
 *
 * @param {Array<{text: string, atMs: number}>} recorded by time
 * @returns {Source}
 */
export function recordedText(recorded) {
  const delays = recorded.map(({ atMs }, i) => (i ? atMs - recorded[i - 1].atMs : 0));
  return ({ send, signal }) =>
    speakPieces({
      pieces: recorded.map(({ text }) => text),
      delays: delays[Symbol.iterator](),
      signal,
      send,
    });
}

/** Text that a person types: pieces are pushed as they come, until `finish`. */
export class TypedText {
  #waiting = [];
  #finished = false;
  #wake = () => {};

  /** @param {string} piece */
  push(piece) {
    this.#waiting.push(piece);
    this.#wake();
  }

  /** No more comes. */
  finish() {
    this.#finished = true;
    this.#wake();
  }

  /** @type {Source} */
  source = async ({ send, signal }) => {
    signal.addEventListener("abort", () => this.#wake());
    while (!signal.aborted) {
      while (this.#waiting.length) {
        if (!send(this.#waiting.shift())) return;
      }
      if (this.#finished) return;
      await new Promise((resolve) => {
        this.#wake = resolve;
      });
    }
  };
}
