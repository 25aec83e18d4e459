// The text as it was sent, with the word that is heard right now.

import { element } from "./dom.js";

export class ReadAlong {
  #text = "";
  /** @type {Map<number, {sentence: import("./subtitles.js").Sentence, span: HTMLElement, words: HTMLElement[]}>} */
  #sentences = new Map();
  #tail = document.createTextNode("");
  #now = null;

  /** @param {HTMLElement} root */
  constructor(root) {
    this.root = root;
  }

  /** Empty again. */
  reset() {
    this.#text = "";
    this.#sentences.clear();
    this.#now = null;
    this.#tail = document.createTextNode("");
    this.root.replaceChildren();
  }

  /** @param {string} piece was sent */
  append(piece) {
    this.#text += piece;
    if (!this.#tail.isConnected) this.root.append(this.#tail);
    this.#tail.appendData(piece);
  }

  /** @param {import("./subtitles.js").Sentence[]} sentences all that is known, in order */
  update(sentences) {
    for (const sentence of sentences) {
      const known = this.#sentences.get(sentence.index);
      if (
        known &&
        known.sentence.complete === sentence.complete &&
        known.words.length === sentence.words.length
      ) {
        known.sentence = sentence;
        continue;
      }
      this.#render(sentence);
    }
    const last = sentences.at(-1);
    if (last) this.#tail.data = this.#text.slice(last.end);
  }

  /** @param {number} positionMs what is heard; marks its word, and what was heard before */
  at(positionMs) {
    const shown = [...this.#sentences.values()];
    const current = shown.findLast(({ sentence }) => sentence.beginMs <= positionMs);
    if (!current) return this.#mark(null);
    const over = positionMs >= current.sentence.endMs;
    const word = current.sentence.words.findLastIndex(({ beginMs }) => beginMs <= positionMs);
    const now = current.words[word] ?? current.span;
    for (const { sentence, span, words } of shown) {
      const past =
        sentence.index < current.sentence.index || (sentence === current.sentence && over);
      span.classList.toggle("heard", past);
      if (past) for (const one of words) one.classList.add("heard");
    }
    current.words.forEach((one, i) => one.classList.toggle("heard", i <= word));
    this.#mark(over ? null : now);
  }

  #mark(now) {
    if (now === this.#now) return;
    this.#now?.classList.remove("now");
    this.#now = now;
    if (!now) return;
    now.classList.add("now");
    this.#follow(now);
  }

  /** Scrolls this box only: the page itself stays where the user has put it. */
  #follow(span) {
    const box = this.root;
    const top = span.offsetTop;
    const hidden =
      top < box.scrollTop || top + span.offsetHeight > box.scrollTop + box.clientHeight;
    if (hidden) box.scrollTo({ top: Math.max(0, top - box.clientHeight / 3), behavior: "smooth" });
  }

  #render(sentence) {
    const known = this.#sentences.get(sentence.index);
    const span = known?.span ?? element("span", { className: "sentence" });
    const words = sentence.words.map((word) =>
      element("span", { className: "word" }, this.#text.slice(word.begin, word.end)),
    );
    const children = [];
    let at = sentence.begin;
    sentence.words.forEach((word, i) => {
      children.push(this.#text.slice(at, word.begin), words[i]);
      at = word.end;
    });
    children.push(this.#text.slice(at, sentence.end));
    span.replaceChildren(...children);
    if (!known) {
      const before = [...this.#sentences.values()].at(-1)?.sentence.end ?? 0;
      this.#tail.before(this.#text.slice(before, sentence.begin), span);
    }
    if (this.#now && !this.#now.isConnected) this.#now = null;
    this.#sentences.set(sentence.index, { sentence, span, words });
  }
}
