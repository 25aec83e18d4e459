// When which part of the text is heard.

/**
 * @typedef {object} Word
 * @property {string} text
 * @property {number} begin index in the text, as JavaScript counts (UTF-16)
 * @property {number} end
 * @property {number} beginMs in the audio
 * @property {number} endMs
 * @property {boolean} estimated divided up by length, the model knew no times
 *
 * @typedef {object} Sentence
 * @property {number} index 1, 2, 3 ...
 * @property {string} text
 * @property {number} begin
 * @property {number} end
 * @property {number} beginMs
 * @property {number} endMs
 * @property {boolean} complete no more of it comes
 * @property {Word[]} words
 */

/** Collects one task's subtitles over the text as it was sent. */
export class Subtitles {
  #text = "";
  /** @type {number[] | null} UTF-16 index of each character, null while both counts are the same */
  #starts = null;
  /** @type {Map<number, Sentence>} */
  #sentences = new Map();

  /** @param {string} [text] what is known of it already */
  constructor(text = "") {
    this.append(text);
  }

  /** The text so far. */
  get text() {
    return this.#text;
  }

  /** @param {string} piece what was just sent */
  append(piece) {
    this.#text += piece;
    this.#starts = null;
  }

  /**
   * Takes the payload of SentenceSynthesis (all that is known of the sentence so far).
   *
   * @param {{index: number, subtitles: object[]}} payload
   */
  update(payload) {
    this.#set(payload, false);
  }

  /**
   * Takes the payload of SentenceEnd.
   *
   * @param {{index: number, subtitles: object[]}} payload
   */
  end(payload) {
    this.#set(payload, true);
  }

  /** @returns {Sentence[]} in the order of the audio; none without `enable_subtitle` */
  items() {
    return [...this.#sentences.values()].sort((a, b) => a.index - b.index);
  }

  /**
   * @param {number} ms position in the audio
   * @returns {{sentence: Sentence | null, word: Word | null}} what is heard then; a word stays
   *   until the next one begins
   */
  at(ms) {
    const sentence = lastBegun(this.items(), ms);
    if (!sentence) return { sentence: null, word: null };
    return { sentence, word: lastBegun(sentence.words, ms) };
  }

  #set({ index, subtitles }, complete) {
    if (!subtitles?.length) return;
    const whole = subtitles.find((item) => item.sentence);
    const words = subtitles.filter((item) => !item.sentence).map((item) => this.#span(item));
    const first = whole ? this.#span(whole) : words[0];
    const last = whole ? first : words.at(-1);
    // Some servers give the sentence item no times; then its words have them.
    const timed = first.endMs > first.beginMs || !words.length;
    this.#sentences.set(index, {
      index,
      text: this.#text.slice(first.begin, last.end) || first.text,
      begin: first.begin,
      end: last.end,
      beginMs: timed ? first.beginMs : words[0].beginMs,
      endMs: timed ? last.endMs : words.at(-1).endMs,
      complete,
      words,
    });
  }

  #span(item) {
    return {
      text: item.text,
      begin: this.#utf16(item.begin_index),
      end: this.#utf16(item.end_index),
      beginMs: item.begin_time,
      endMs: item.end_time,
      estimated: item.estimated === true,
    };
  }

  /** The protocol counts characters (code points), JavaScript counts half of some. */
  #utf16(index) {
    if (this.#starts === null) {
      this.#starts = [];
      let at = 0;
      for (const character of this.#text) {
        this.#starts.push(at);
        at += character.length;
      }
    }
    return index < this.#starts.length ? this.#starts[index] : this.#text.length;
  }
}

/**
 * @template {{beginMs: number}} T
 * @param {T[]} spans by time
 * @param {number} ms
 * @returns {T | null}
 */
function lastBegun(spans, ms) {
  return spans.findLast((span) => span.beginMs <= ms) ?? null;
}
