// Which voices a search means.

/**
 * @typedef {object} Voice as the server lists it
 * @property {string} name
 * @property {string} model
 * @property {string} language BCP 47
 * @property {string} gender
 * @property {string} kind preset or clone
 * @property {string} description
 * @property {string[]} aliases
 */

/**
 * @param {Voice[]} voices
 * @param {string} query words, all of which have to be found
 * @param {(voice: Voice) => string} [describe] more words to be found by, in the user's language
 * @returns {Array<{voice: Voice, alias: string | null}>} best first; `alias` is what was found if
 *   the voice's own name and facts do not say why it is here
 */
export function searchVoices(voices, query, describe = () => "") {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const found = [];
  for (const [order, voice] of voices.entries()) {
    const own = [
      voice.name,
      voice.language,
      voice.gender,
      voice.kind,
      voice.description,
      describe(voice),
    ];
    const facts = own.join(" ").toLowerCase();
    const hidden = words.filter((word) => !facts.includes(word));
    const alias = hidden.length
      ? voice.aliases.find((name) => hidden.every((word) => name.toLowerCase().includes(word)))
      : null;
    if (alias !== undefined) found.push({ voice, alias, order, rank: rank(voice, alias, words) });
  }
  found.sort((a, b) => a.rank - b.rank || a.order - b.order);
  return found.map(({ voice, alias }) => ({ voice, alias }));
}

/**
 * @param {Voice[]} voices
 * @param {string} name or alias, in any case
 * @returns {Voice | null}
 */
export function findVoice(voices, name) {
  const wanted = name.trim().toLowerCase();
  const named = (one) => one.toLowerCase() === wanted;
  return (
    voices.find((voice) => named(voice.name)) ??
    voices.find((voice) => voice.aliases.some(named)) ??
    null
  );
}

function rank(voice, alias, words) {
  if (!words.length) return 0;
  const name = (alias ?? voice.name).toLowerCase();
  if (name === words.join(" ")) return 0;
  return name.startsWith(words[0]) ? 1 : 2;
}
