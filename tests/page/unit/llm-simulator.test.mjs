import assert from "node:assert/strict";
import { describe, test } from "node:test";

import {
  pieces,
  randomNumbers,
  schedule,
  speakPieces,
} from "../../../static/js/llm-simulator.js";

const TEXTS = [
  "你好，很高兴认识你。今天是2024年5月1日，气温是25.5℃！",
  "Hello there, internationalization isn't hard.\n\nA second paragraph — with 3.14 and 50%.",
  "Gemischt 混合 text😀👨‍👩‍👧 e\u0301 ok",
  " \n ",
  "",
];

describe("pieces", () => {
  test("joined they are the text", () => {
    for (const text of TEXTS) {
      for (const seed of [1, 2, 3, 99]) assert.equal(pieces(text, seed).join(""), text);
    }
  });

  test("the same seed cuts the same way, another one differently", () => {
    assert.deepEqual(pieces(TEXTS[0], 7), pieces(TEXTS[0], 7));
    assert.notDeepEqual(pieces(TEXTS[0], 7), pieces(TEXTS[0], 8));
  });

  test("they are as short as tokens, never empty, and whole characters", () => {
    for (const piece of TEXTS.flatMap((text) => pieces(text, 5))) {
      assert.ok(piece.length > 0 && piece.length <= 8, JSON.stringify(piece));
      assert.ok(piece.isWellFormed?.() ?? true, JSON.stringify(piece));
      assert.doesNotMatch(piece, /^[\udc00-\udfff]|[\ud800-\udbff]$/, JSON.stringify(piece));
    }
  });

  test("a word carries the blank before it", () => {
    assert.deepEqual(pieces("one two six", 1), ["one", " two", " six"]);
  });
});

describe("schedule", () => {
  const take = (options, count) => {
    const delays = schedule(options);
    return Array.from({ length: count }, () => delays.next().value);
  };
  const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;

  test("without jitter it is a clock that starts at once", () => {
    assert.deepEqual(take({ tokensPerSecond: 20 }, 4), [0, 50, 50, 50]);
  });

  test("jitter keeps the mean and never goes back in time", () => {
    for (const jitter of [0.3, 1]) {
      const delays = take({ tokensPerSecond: 20, jitter, seed: 3 }, 20_000).slice(1);
      assert.ok(Math.abs(mean(delays) - 50) < 1);
      assert.ok(delays.every((ms) => ms >= 50 * (1 - jitter)));
      assert.ok(Math.max(...delays) > 60);
    }
  });

  test("the same seed gives the same times", () => {
    const options = { tokensPerSecond: 20, jitter: 1, seed: 3 };
    assert.deepEqual(take(options, 9), take(options, 9));
    assert.notDeepEqual(take(options, 9), take({ ...options, seed: 4 }, 9));
  });
});

test("random numbers are spread over [0, 1)", () => {
  const random = randomNumbers(1);
  const values = Array.from({ length: 10_000 }, random);
  assert.ok(values.every((value) => value >= 0 && value < 1));
  for (let tenth = 0; tenth < 10; tenth += 1) {
    const inside = values.filter((value) => Math.floor(10 * value) === tenth).length;
    assert.ok(inside > 900 && inside < 1100, `${inside} in tenth ${tenth}`);
  }
});

describe("speaking pieces", () => {
  /** A clock that only waiting moves, late by as much as `lateMs` says. */
  const clock = (lateMs = () => 0) => {
    const time = { ms: 0, waits: [] };
    time.now = () => time.ms;
    time.wait = async (ms) => {
      time.waits.push(ms);
      time.ms += ms + lateMs(time.ms);
    };
    return time;
  };
  const delays = (...values) => values[Symbol.iterator]();

  test("each goes out at its time", async () => {
    const time = clock();
    const sent = [];
    const count = await speakPieces({
      pieces: ["a", "b", "c"],
      delays: delays(0, 50, 20),
      send: (piece, index) => void sent.push([piece, index, time.ms]),
      ...time,
    });
    assert.equal(count, 3);
    assert.deepEqual(sent, [["a", 0, 0], ["b", 1, 50], ["c", 2, 70]]);
  });

  test("a timer that is a second late is made up for", async () => {
    const time = clock((ms) => (ms < 100 ? 1000 : 0));
    const sent = [];
    await speakPieces({
      pieces: ["a", "b", "c", "d"],
      delays: delays(0, 50, 50, 1000),
      send: () => void sent.push(time.ms),
      ...time,
    });
    assert.deepEqual(sent, [0, 1050, 1050, 1100]);
  });

  test("a task that is over, or a signal, ends it", async () => {
    const options = { pieces: ["a", "b", "c"], ...clock() };
    const refused = { ...options, delays: delays(0, 1, 1), send: (_piece, index) => index < 1 };
    assert.equal(await speakPieces(refused), 1);

    const abort = new AbortController();
    const aborted = { ...options, delays: delays(0, 1, 1), signal: abort.signal };
    assert.equal(await speakPieces({ ...aborted, send: () => abort.abort() }), 1);
  });
});
