import assert from "node:assert/strict";
import { test } from "node:test";

import { Timings, simulatePlayback } from "../../../static/js/timings.js";

test("nothing has happened", () => {
  assert.deepEqual(new Timings().numbers(), {
    connectMs: null,
    startedMs: null,
    firstFrameMs: null,
    firstAudibleMs: null,
    totalMs: null,
    chunks: 0,
    gapP50Ms: null,
    gapP95Ms: null,
    gapMaxMs: null,
    audioS: 0,
    rtf: null,
  });
});

test("a task from connecting to its end", () => {
  const timings = new Timings();
  timings.mark("connect", 1000);
  timings.mark("connected", 1020);
  timings.mark("start", 1021);
  timings.mark("started", 1024);
  timings.mark("text", 1030);
  for (const atMs of [1080, 1090, 1130, 1280]) timings.chunk(atMs, 0.25);
  timings.mark("audible", 1170);
  timings.mark("completed", 1290);
  assert.deepEqual(timings.numbers(), {
    connectMs: 20,
    startedMs: 3,
    firstFrameMs: 50,
    firstAudibleMs: 140,
    totalMs: 260,
    chunks: 4,
    gapP50Ms: 40,
    gapP95Ms: 139,
    gapMaxMs: 150,
    audioS: 1,
    rtf: 0.25,
  });
});

test("the first text counts", () => {
  const timings = new Timings();
  timings.mark("text", 10);
  timings.mark("text", 500);
  timings.chunk(60);
  assert.equal(timings.numbers().firstFrameMs, 50);
});

test("the length of compressed audio is told from outside", () => {
  const timings = new Timings();
  timings.mark("text", 0);
  timings.chunk(500);
  assert.equal(timings.numbers().rtf, null);
  timings.setAudioS(2);
  assert.equal(timings.numbers().audioS, 2);
  assert.equal(timings.numbers().rtf, 0.25);
});

test("a listener with a margin hears what comes too late as a gap", () => {
  const chunks = [0, 100, 200, 450, 700].map((atMs) => ({ atMs, audioS: 0.1 }));
  // With 80 ms: heard up to 380, so 70 ms are missing; then up to 550, 150 ms.
  assert.deepEqual(simulatePlayback(chunks, 80), { underruns: 2, underrunMs: 220 });
  assert.deepEqual(simulatePlayback(chunks, 300), { underruns: 0, underrunMs: 0 });
  assert.deepEqual(simulatePlayback([], 80), { underruns: 0, underrunMs: 0 });
});
