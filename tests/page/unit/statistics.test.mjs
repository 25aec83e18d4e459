import assert from "node:assert/strict";
import { test } from "node:test";

import { median, percentile } from "../../../static/js/statistics.js";

test("percentiles interpolate between ranks, as numpy does", () => {
  const values = [40, 10, 30, 20];
  assert.equal(percentile(values, 0), 10);
  assert.equal(percentile(values, 50), 25);
  assert.equal(percentile(values, 95), 38.5);
  assert.equal(percentile(values, 100), 40);
  assert.equal(percentile([7], 95), 7);
});

test("order is by size, not by spelling", () => {
  assert.equal(median([9, 100, 10]), 10);
});

test("nothing has no percentile", () => {
  assert.equal(percentile([], 50), null);
  assert.equal(median([]), null);
});

test("the values stay as they were", () => {
  const values = [3, 1, 2];
  median(values);
  assert.deepEqual(values, [3, 1, 2]);
});
