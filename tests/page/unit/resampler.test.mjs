import assert from "node:assert/strict";
import { test } from "node:test";

import { Resampler } from "../../../static/js/resampler.js";

const RATES = [
  [16000, 48000],
  [24000, 44100],
  [22050, 48000],
  [48000, 44100],
  [44100, 16000],
];

const sine = (hz, rate, seconds) => {
  const step = (2 * Math.PI * hz) / rate;
  return Float32Array.from({ length: rate * seconds }, (_, i) => 0.5 * Math.sin(step * i));
};

function resample(samples, fromHz, toHz, piece) {
  const resampler = new Resampler({ fromHz, toHz });
  const out = [];
  for (let at = 0; at < samples.length; at += piece) {
    out.push(...resampler.push(samples.subarray(at, at + piece)));
  }
  out.push(...resampler.flush());
  return out;
}

for (const [fromHz, toHz] of RATES) {
  test(`a sine stays what it is from ${fromHz} to ${toHz} Hz`, () => {
    const out = resample(sine(1000, fromHz, 0.5), fromHz, toHz, 480);
    const expected = sine(1000, toHz, 0.5);
    assert.ok(Math.abs(out.length - expected.length) <= 1, `${out.length} samples`);
    // At the very ends there is nothing on the other side.
    const margin = Math.ceil(toHz * 0.005);
    let worst = 0;
    for (let i = margin; i < expected.length - margin; i += 1) {
      worst = Math.max(worst, Math.abs(out[i] - expected[i]));
    }
    assert.ok(worst < 0.003, `off by ${worst}`);
  });
}

test("pieces of any size give the same samples as the whole", () => {
  const samples = sine(700, 16000, 0.1);
  const whole = resample(samples, 16000, 44100, samples.length);
  for (const piece of [1, 7, 160, 1599]) {
    const out = resample(samples, 16000, 44100, piece);
    assert.equal(out.length, whole.length);
    assert.ok(out.every((value, i) => Math.abs(value - whole[i]) < 1e-6), `pieces of ${piece}`);
  }
});

test("going down, what the lower rate cannot carry is filtered out", () => {
  const out = resample(sine(10_000, 48000, 0.2), 48000, 16000, 960).slice(200, -200);
  assert.ok(Math.max(...out.map(Math.abs)) < 0.01);
});
