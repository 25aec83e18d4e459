import assert from "node:assert/strict";
import { test } from "node:test";

import { Subtitles } from "../../../static/js/subtitles.js";

const item = (text, begin_time, end_time, begin_index, end_index, more = {}) => ({
  text,
  begin_time,
  end_time,
  begin_index,
  end_index,
  sentence: false,
  phoneme_list: [],
  ...more,
});
const whole = (...args) => ({ ...item("", ...args), sentence: true });

test("indices in characters become indices in JavaScript's strings", () => {
  const subtitles = new Subtitles("😀你好。Hi!");
  subtitles.update({ index: 1, subtitles: [whole(0, 500, 0, 4), item("你", 0, 250, 1, 2)] });
  subtitles.end({ index: 2, subtitles: [whole(500, 900, 4, 7), item("Hi", 500, 800, 4, 6)] });
  const [first, second] = subtitles.items();
  assert.equal(first.text, "😀你好。");
  assert.deepEqual([first.begin, first.end], [0, 5]);
  assert.equal(subtitles.text.slice(first.words[0].begin, first.words[0].end), "你");
  assert.equal(subtitles.text.slice(second.words[0].begin, second.words[0].end), "Hi");
});

test("each message replaces what was known of its sentence", () => {
  const subtitles = new Subtitles("one two");
  const words = [item("one", 0, 300, 0, 3), item("two", 300, 700, 4, 7, { estimated: true })];
  subtitles.update({ index: 1, subtitles: [whole(0, 300, 0, 7), words[0]] });
  assert.equal(subtitles.items()[0].complete, false);
  subtitles.end({ index: 1, subtitles: [whole(0, 700, 0, 7), ...words] });
  assert.deepEqual(subtitles.items(), [
    {
      index: 1,
      text: "one two",
      begin: 0,
      end: 7,
      beginMs: 0,
      endMs: 700,
      complete: true,
      words: [
        { text: "one", begin: 0, end: 3, beginMs: 0, endMs: 300, estimated: false },
        { text: "two", begin: 4, end: 7, beginMs: 300, endMs: 700, estimated: true },
      ],
    },
  ]);
});

test("text that arrives in pieces is one text", () => {
  const subtitles = new Subtitles();
  subtitles.append("你好");
  subtitles.append("😀。");
  subtitles.end({ index: 1, subtitles: [whole(0, 500, 0, 4)] });
  subtitles.append("再");
  subtitles.append("见。");
  subtitles.end({ index: 2, subtitles: [whole(500, 900, 4, 7)] });
  assert.deepEqual(subtitles.items().map(({ text }) => text), ["你好😀。", "再见。"]);
});

test("what is heard when", () => {
  const subtitles = new Subtitles("ab. cd.");
  subtitles.end({
    index: 1,
    subtitles: [whole(100, 500, 0, 3), item("a", 100, 200, 0, 1), item("b", 300, 400, 1, 2)],
  });
  subtitles.end({ index: 2, subtitles: [whole(600, 900, 4, 7), item("cd", 600, 800, 4, 6)] });
  const heard = (ms) => {
    const { sentence, word } = subtitles.at(ms);
    return [sentence?.index ?? null, word?.text ?? null];
  };
  assert.deepEqual(heard(50), [null, null]);
  assert.deepEqual(heard(100), [1, "a"]);
  assert.deepEqual(heard(250), [1, "a"]);
  assert.deepEqual(heard(300), [1, "b"]);
  assert.deepEqual(heard(599), [1, "b"]);
  assert.deepEqual(heard(5000), [2, "cd"]);
});

test("without subtitles there are none", () => {
  const subtitles = new Subtitles("hello");
  subtitles.end({ index: 1, subtitles: [] });
  subtitles.end({ index: 2 });
  assert.deepEqual(subtitles.items(), []);
  assert.deepEqual(subtitles.at(100), { sentence: null, word: null });
});

test("a sentence without times has those of its words, as on some servers", () => {
  const subtitles = new Subtitles("hi there");
  subtitles.end({
    index: 1,
    subtitles: [whole(0, 0, 0, 8), item("hi", 40, 200, 0, 2), item("there", 200, 640, 3, 8)],
  });
  const [{ beginMs, endMs }] = subtitles.items();
  assert.deepEqual([beginMs, endMs], [40, 640]);
});

test("words without a sentence make one", () => {
  const subtitles = new Subtitles("hi there");
  subtitles.end({ index: 1, subtitles: [item("hi", 0, 200, 0, 2), item("there", 200, 600, 3, 8)] });
  const [{ text, beginMs, endMs }] = subtitles.items();
  assert.deepEqual([text, beginMs, endMs], ["hi there", 0, 600]);
});
