// Order statistics of a few hundred numbers.

/**
 * Linear interpolation between the two nearest ranks, as numpy's default.
 *
 * @param {Iterable<number>} values in any order
 * @param {number} percent 0 to 100
 * @returns {number | null} null without values
 */
export function percentile(values, percent) {
  const sorted = Float64Array.from(values).sort();
  if (sorted.length === 0) return null;
  const rank = (Math.min(100, Math.max(0, percent)) / 100) * (sorted.length - 1);
  const below = Math.floor(rank);
  const above = Math.min(below + 1, sorted.length - 1);
  return sorted[below] + (rank - below) * (sorted[above] - sorted[below]);
}

/**
 * @param {Iterable<number>} values
 * @returns {number | null} null without values
 */
export function median(values) {
  return percentile(values, 50);
}
