import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { WaveformTrack } from "../../../static/js/waveform-track.js";
import { WaveformView } from "../../../static/js/waveform-view.js";

const sine = (length, offset = 0) =>
  Float32Array.from({ length }, (_, i) => 0.5 * Math.sin((2 * Math.PI * (i + offset)) / 100));

describe("WaveformTrack", () => {
  test("peaks by buckets are the peaks of the samples, up to a bucket's width", () => {
    const track = new WaveformTrack();
    const all = sine(100_000);
    all[70_000] = 0.9;
    for (let at = 0; at < all.length; at += 777) track.push(all.subarray(at, at + 777), true);
    assert.equal(track.length, all.length);
    const near = (value, wanted) => assert.ok(Math.abs(value - wanted) < 1e-3, `${value}`);
    near(track.peak(0, 60_000)[1], 0.5);
    near(track.peak(0, 60_000)[0], -0.5);
    near(track.peak(60_000, 80_000)[1], 0.9);
    near(track.peak(70_000, 70_001)[0], 0.9);
  });

  test("a border lies before every chunk but the first, and none before plain samples", () => {
    const track = new WaveformTrack();
    for (const [length, chunk] of [
      [10, true],
      [20, true],
      [5, false],
      [7, true],
    ]) {
      track.push(new Float32Array(length), chunk);
    }
    assert.deepEqual(track.borders, [10, 35]);
  });

  test("a smooth join has a step like its neighbours, a click has a larger one", () => {
    const smooth = new WaveformTrack();
    smooth.push(sine(500), true);
    smooth.push(sine(500, 500), true);
    const click = new WaveformTrack();
    click.push(sine(500), true);
    click.push(sine(500, 525), true);
    const good = smooth.joinSteps(500);
    assert.ok(good.step <= good.beside * 1.01);
    const bad = click.joinSteps(500);
    assert.ok(bad.step > 10 * bad.beside);
  });

  test("full scale does not wrap around", () => {
    const track = new WaveformTrack();
    track.push(Float32Array.of(1.5, -1.5), true);
    assert.deepEqual(track.peak(0, 2), [-1, 32767 / 32768]);
  });
});

describe("WaveformView", () => {
  const view = (total) => Object.assign(new WaveformView(100), { total });

  test("shows everything, and at least something", () => {
    assert.equal(view(0).length, 100);
    assert.equal(view(5000).length, 5000);
  });

  test("a zoom keeps the sample under the pointer in its place", () => {
    const seen = view(10_000);
    seen.zoom(4, 3000);
    assert.equal(seen.length, 2500);
    assert.equal((3000 - seen.begin) / seen.length, 0.3);
  });

  test("never beyond the ends, never closer than a few samples, and back to all", () => {
    const seen = view(10_000);
    seen.zoom(1e9, 10_000);
    assert.equal(seen.length, 40);
    assert.equal(seen.begin, 9960);
    seen.pan(1e9);
    assert.equal(seen.begin, 9960);
    seen.zoom(1e-9, 0);
    assert.ok(seen.fitted && seen.begin === 0 && seen.length === 10_000);
  });

  test("turns the page when what is heard leaves it", () => {
    const seen = view(10_000);
    seen.show(0, 1000);
    seen.follow(999);
    assert.equal(seen.begin, 0);
    seen.follow(1000);
    assert.equal(seen.begin, 950);
  });
});
