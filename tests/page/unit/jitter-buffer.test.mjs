import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { JitterBuffer } from "../../../static/js/jitter-buffer.js";

const RATE = 1000; // one sample is one ms
const BLOCK = 10;

const buffer = (options) => new JitterBuffer({ sampleRate: RATE, fadeMs: 4, ...options });
const samples = (count, value = 1) => new Float32Array(count).fill(value);

function pull(jitter, count = BLOCK) {
  const out = new Float32Array(count).fill(NaN);
  return { ...jitter.pull(out), out: [...out] };
}

function pullMs(jitter, ms) {
  return Array.from({ length: ms / BLOCK }, () => pull(jitter)).flatMap(({ out }) => out);
}

/** The largest step between neighbours: what is heard as a click. */
const steepest = (out) => Math.max(...out.slice(1).map((value, i) => Math.abs(value - out[i])));

describe("start", () => {
  test("it is silent until the margin is there", () => {
    const jitter = buffer({ startMs: 80 });
    jitter.push(samples(79));
    assert.deepEqual(pull(jitter), { audible: false, starved: false, out: Array(10).fill(0) });
    jitter.push(samples(1));
    assert.equal(pull(jitter).audible, true);
  });

  test("a margin below one block is no margin", () => {
    const jitter = buffer({ startMs: 0 });
    jitter.push(samples(13));
    assert.equal(pull(jitter).audible, false);
    jitter.push(samples(1));
    assert.deepEqual(pull(jitter).starved, false);
  });

  test("what is complete starts without the margin", () => {
    const jitter = buffer({ startMs: 80 });
    jitter.push(samples(20));
    jitter.end();
    assert.equal(pull(jitter).audible, true);
  });

  test("so does what no more is due after for now", () => {
    const jitter = buffer({ startMs: 80 });
    jitter.push(samples(20));
    jitter.rest();
    assert.equal(pull(jitter).audible, true);
  });

  test("the first samples fade in", () => {
    const jitter = buffer();
    jitter.push(samples(200));
    assert.deepEqual(pull(jitter).out, [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1]);
  });
});

describe("playing", () => {
  test("samples come out in order and unchanged, whatever the sizes of pieces and blocks", () => {
    const ramp = Float32Array.from({ length: 3000 }, (_, i) => i);
    for (const [piece, block] of [[7, 128], [300, 16], [1, 1], [3000, 999]]) {
      const jitter = buffer({ fadeMs: 0 });
      for (let at = 0; at < ramp.length; at += piece) jitter.push(ramp.subarray(at, at + piece));
      jitter.end();
      const out = [];
      while (!jitter.finished) out.push(...pull(jitter, block).out);
      assert.deepEqual(out.slice(0, ramp.length), [...ramp], `${piece} in ${block}`);
    }
  });

  test("statistics follow", () => {
    const jitter = buffer({ startMs: 80 });
    jitter.push(samples(100));
    pull(jitter);
    pull(jitter);
    assert.deepEqual(jitter.stats(), {
      bufferedMs: 80,
      minBufferedMs: 90,
      underruns: 0,
      underrunMs: 0,
      pauses: 0,
      playedS: 0.02,
      droppedMs: 0,
      startMs: 80,
    });
  });

  test("the end is no underrun, and fades out", () => {
    const jitter = buffer({ startMs: 10 });
    jitter.push(samples(25));
    jitter.end();
    const out = pullMs(jitter, 40);
    assert.deepEqual(out.slice(19, 26), [1, 1, 1, 0.75, 0.5, 0.25, 0].slice(0, 7));
    assert.equal(jitter.finished, true);
    assert.equal(jitter.stats().underruns, 0);
    assert.equal(jitter.stats().playedS, 0.025);
  });

  test("the lowest level leaves out the draining at the end", () => {
    const jitter = buffer({ startMs: 10 });
    jitter.push(samples(100));
    pull(jitter);
    jitter.end();
    while (!jitter.finished) pull(jitter);
    assert.equal(jitter.stats().minBufferedMs, 100);
  });
});

describe("running dry", () => {
  const dry = (options) => {
    const jitter = buffer({ startMs: 20, growMs: 30, maxStartMs: 60, ...options });
    jitter.push(samples(35));
    return jitter;
  };

  test("it fades out before nothing is left, and counts once", () => {
    const jitter = dry();
    const blocks = Array.from({ length: 6 }, () => pull(jitter));
    assert.ok(steepest([0, ...blocks.flatMap(({ out }) => out)]) <= 0.25);
    assert.deepEqual(blocks.map(({ starved }) => starved).filter(Boolean), [true]);
    assert.equal(jitter.stats().underruns, 1);
  });

  test("the silence is measured until it plays again", () => {
    const jitter = dry();
    assert.deepEqual(pullMs(jitter, 40).slice(30), [0.75, 0.5, 0.25, 0, 0, 0, 0, 0, 0, 0]);
    assert.equal(jitter.stats().underrunMs, 6);
    pullMs(jitter, 40);
    assert.equal(jitter.stats().underrunMs, 46);
    jitter.push(samples(100));
    pullMs(jitter, 40);
    assert.equal(jitter.stats().underrunMs, 46);
  });

  test("the margin grows with each underrun, up to its bound", () => {
    const jitter = dry();
    const margins = [];
    for (let i = 0; i < 4; i += 1) {
      pullMs(jitter, 100);
      margins.push(jitter.stats().startMs);
      jitter.push(samples(100));
    }
    assert.deepEqual(margins, [50, 60, 60, 60]);
  });

  test("after it, playback waits for the grown margin", () => {
    const jitter = dry();
    pullMs(jitter, 100);
    const left = jitter.stats().bufferedMs;
    jitter.push(samples(49 - left));
    assert.equal(pull(jitter).audible, false);
    jitter.push(samples(1));
    assert.equal(pull(jitter).audible, true);
  });

  test("a margin that was large from the start does not shrink", () => {
    const jitter = buffer({ startMs: 200, growMs: 30, maxStartMs: 100 });
    jitter.push(samples(200));
    pullMs(jitter, 300);
    assert.equal(jitter.stats().startMs, 200);
  });

  test("nothing is lost or repeated over an underrun", () => {
    const jitter = dry({ fadeMs: 0 });
    const played = [];
    for (let value = 1; value <= 5; value += 1) {
      jitter.push(samples(60, value));
      played.push(...pullMs(jitter, 100));
    }
    jitter.end();
    played.push(...pullMs(jitter, 100));
    assert.equal(jitter.stats().playedS, 0.335);
    const order = played.filter((value) => value > 0);
    assert.deepEqual(order, order.toSorted((a, b) => a - b));
  });

  test("it is a pause when nothing was due", () => {
    const jitter = dry();
    jitter.rest();
    pullMs(jitter, 100);
    const { underruns, underrunMs, pauses, startMs } = jitter.stats();
    assert.deepEqual({ underruns, underrunMs, pauses, startMs }, {
      underruns: 0,
      underrunMs: 0,
      pauses: 1,
      startMs: 20,
    });
    jitter.push(samples(30));
    assert.equal(pull(jitter).audible, true);
  });

  test("audio after a rest is due again", () => {
    const jitter = dry();
    jitter.rest();
    jitter.push(samples(10));
    pullMs(jitter, 100);
    assert.equal(jitter.stats().underruns, 1);
  });
});

describe("overflow", () => {
  test("the oldest is dropped and counted", () => {
    const jitter = buffer({ capacityS: 0.1, fadeMs: 0 });
    jitter.push(samples(70, 1));
    jitter.push(samples(70, 2));
    assert.equal(jitter.stats().bufferedMs, 100);
    assert.equal(jitter.stats().droppedMs, 40);
    jitter.end();
    const out = pullMs(jitter, 100);
    assert.deepEqual(out, [...samples(30, 1), ...samples(70, 2)]);
  });

  test("while it plays the jump is a crossfade", () => {
    const jitter = buffer({ capacityS: 0.1 });
    jitter.push(samples(100, 1));
    const before = pull(jitter).out;
    jitter.push(samples(100, -1));
    assert.equal(jitter.stats().bufferedMs, 100);
    assert.equal(jitter.stats().droppedMs, 90);
    const after = pullMs(jitter, 90);
    assert.equal(after.at(-1), -1);
    assert.ok(steepest([...before, ...after]) <= 0.41);
  });

  test("a drop shorter than the fade repeats nothing", () => {
    const jitter = buffer({ capacityS: 0.1 });
    const ramp = Float32Array.from({ length: 200 }, (_, i) => i);
    jitter.push(ramp.subarray(0, 100));
    pull(jitter);
    jitter.push(ramp.subarray(100, 112));
    const after = pullMs(jitter, 80);
    assert.ok(after[0] > 10 && after[0] < after[1] && after[1] < 14);
    assert.deepEqual(after.slice(2, 6), [14, 15, 16, 17]);
  });

  test("a whole text that arrives at once is kept", () => {
    const jitter = buffer();
    for (let i = 0; i < 600; i += 1) jitter.push(samples(1000));
    assert.equal(jitter.stats().bufferedMs, 600_000);
    assert.equal(jitter.stats().droppedMs, 0);
  });
});

describe("clear", () => {
  test("it falls silent within the fade, without a click", () => {
    const jitter = buffer();
    jitter.push(samples(500));
    const before = pull(jitter).out;
    assert.equal(jitter.clear(), 486);
    const after = pull(jitter).out;
    assert.deepEqual(after, [1, 0.75, 0.5, 0.25, 0, 0, 0, 0, 0, 0]);
    assert.ok(steepest([...before, ...after]) <= 0.25);
    assert.equal(jitter.finished, true);
  });

  test("before playback it leaves nothing", () => {
    const jitter = buffer();
    jitter.push(samples(50));
    assert.equal(jitter.clear(), 50);
    assert.equal(jitter.finished, true);
    assert.equal(pull(jitter).audible, false);
  });

  test("it takes the right samples from the middle of pieces", () => {
    const jitter = buffer({ startMs: 10, fadeMs: 4 });
    [11, 2, 1, 50].forEach((count, i) => jitter.push(samples(count, i + 1)));
    pull(jitter);
    jitter.clear();
    assert.deepEqual(pull(jitter).out.slice(0, 4), [1, 0.75 * 2, 0.5 * 2, 0.25 * 3]);
  });
});

test("memory of played pieces is given back", () => {
  const jitter = buffer({ startMs: 0 });
  for (let i = 0; i < 5000; i += 1) {
    jitter.push(samples(BLOCK));
    if (i > 2) pull(jitter);
  }
  assert.equal(jitter.stats().bufferedMs, 30);
  assert.equal(jitter.stats().underruns, 0);
});
