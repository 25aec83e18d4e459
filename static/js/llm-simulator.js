// A language model that writes a text which is already there: token by token, unevenly, and the
// same way for the same seed.

/**
 * Seeded random numbers (mulberry32, by Tommy Ettinger, public domain algorithm).
 *
 * @param {number} seed any integer
 * @returns {() => number} values in [0, 1)
 */
export function randomNumbers(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

// A word of letters or digits with the blanks before it, as tokenizers cut them, or one character.
const UNIT = /\s*(?:[\p{Script=Latin}\p{Script=Cyrillic}\p{M}\p{N}'’]+)|\s+|./gsu;
const LONGEST_TOKEN = 6;

/**
 * Cuts a text into pieces of a token's size; joined they are the text.
 *
 * @param {string} text
 * @param {number} [seed]
 * @returns {string[]} never a part of a surrogate pair
 */
export function pieces(text, seed = 1) {
  const random = randomNumbers(seed);
  const result = [];
  const units = text.match(UNIT) ?? [];
  for (let i = 0; i < units.length; ) {
    const characters = Array.from(units[i]);
    if (characters.length > 1) {
      result.push(...split(characters, random));
      i += 1;
      continue;
    }
    // One to three Han characters make a token, as in the models' vocabularies.
    let piece = "";
    for (let left = 1 + Math.floor(3 * random()); left > 0 && i < units.length; left -= 1) {
      if (piece && Array.from(units[i]).length > 1) break;
      piece += units[i];
      i += 1;
    }
    result.push(piece);
  }
  return result;
}

/** Long words are several tokens. */
function split(characters, random) {
  const parts = [];
  while (characters.length > LONGEST_TOKEN) {
    parts.push(characters.splice(0, 3 + Math.floor(3 * random())).join(""));
  }
  parts.push(characters.join(""));
  return parts;
}

/**
 * Waiting times before each token, without end. Their mean is 1000 / tokensPerSecond; the first
 * is 0.
 *
 * @param {object} options
 * @param {number} options.tokensPerSecond
 * @param {number} [options.jitter] 0: like a clock, 1: as uneven as chance (exponential)
 * @param {number} [options.seed]
 * @returns {Generator<number, never>} ms
 */
export function* schedule({ tokensPerSecond, jitter = 0, seed = 1 }) {
  const random = randomNumbers(seed);
  const meanMs = 1000 / tokensPerSecond;
  yield 0;
  for (;;) yield meanMs * (1 - jitter + jitter * -Math.log(1 - random()));
}

/**
 * Sends pieces by a schedule. Late timers (a tab in the background) do not slow it down: what is
 * due by then is sent at once.
 *
 * @param {object} options
 * @param {string[]} options.pieces
 * @param {Iterator<number>} options.delays ms, see `schedule`
 * @param {(piece: string, index: number) => boolean | void} options.send false ends it
 * @param {AbortSignal} [options.signal] ends it
 * @param {() => number} [options.now] ms
 * @param {(ms: number) => Promise<void>} [options.wait]
 * @returns {Promise<number>} how many pieces were sent
 */
export async function speakPieces({
  pieces: all,
  delays,
  send,
  signal,
  now = () => performance.now(),
  wait = (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
}) {
  let dueMs = now();
  for (const [index, piece] of all.entries()) {
    dueMs += delays.next().value;
    const leftMs = dueMs - now();
    if (leftMs > 0) await wait(leftMs);
    if (signal?.aborted || send(piece, index) === false) return index;
  }
  return all.length;
}
