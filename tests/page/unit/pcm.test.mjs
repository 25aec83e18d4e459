import assert from "node:assert/strict";
import { test } from "node:test";

import { PcmReader, floatToS16, peaks, s16ToFloat } from "../../../static/js/pcm.js";

const bytes = (...values) => Uint8Array.from(values).buffer;

test("s16 little endian becomes floats", () => {
  const samples = s16ToFloat(bytes(0x00, 0x00, 0x00, 0x40, 0x00, 0x80, 0xff, 0x7f));
  assert.deepEqual([...samples], [0, 0.5, -1, 32767 / 32768]);
});

test("an odd number of bytes is half a sample", () => {
  assert.throws(() => s16ToFloat(bytes(1, 2, 3)), RangeError);
});

test("floats become s16 and are clipped", () => {
  const back = new Int16Array(floatToS16(Float32Array.of(0, 0.5, -1, 1, 7, -7)));
  assert.deepEqual([...back], [0, 16384, -32768, 32767, 32767, -32768]);
});

test("every s16 value survives both ways", () => {
  const all = Int16Array.from({ length: 65536 }, (_, i) => i - 32768);
  assert.deepEqual(new Int16Array(floatToS16(s16ToFloat(all.buffer))), all);
});

test("a sample cut between pieces is put together", () => {
  const whole = Uint8Array.from({ length: 20 }, (_, i) => 37 * i);
  for (const cuts of [[3, 8, 9], [1, 2, 3, 4, 5], [10], [19], [7, 7, 7]]) {
    const reader = new PcmReader();
    const ends = [...cuts, whole.length];
    const parts = ends.map((end, i) => reader.push(whole.slice(i ? ends[i - 1] : 0, end).buffer));
    const samples = parts.flatMap((part) => [...part]);
    assert.deepEqual(samples, [...s16ToFloat(whole.buffer)], `cut at ${cuts}`);
  }
});

test("peaks are the lowest and highest of each part", () => {
  const samples = Float32Array.of(0, 0.5, -0.5, 0.25, 1, -1);
  assert.deepEqual(peaks(samples, 3), [[0, 0.5], [-0.5, 0.25], [-1, 1]]);
  assert.deepEqual(peaks(samples, 1), [[-1, 1]]);
});

test("peaks of fewer samples than parts repeat, and of none are silence", () => {
  assert.deepEqual(peaks(Float32Array.of(0.5, -0.5), 4), [
    [0.5, 0.5],
    [0.5, 0.5],
    [-0.5, -0.5],
    [-0.5, -0.5],
  ]);
  assert.deepEqual(peaks(new Float32Array(0), 2), [[0, 0], [0, 0]]);
});
