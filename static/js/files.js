// What is downloaded: the audio as one right file, and subtitles.

import { WavReader, wavHeader } from "./wav.js";

const TYPES = {
  pcm: ["wav", "audio/wav"],
  wav: ["wav", "audio/wav"],
  mp3: ["mp3", "audio/mpeg"],
  opus: ["opus", "audio/ogg; codecs=opus"],
  aac: ["aac", "audio/aac"],
  flac: ["flac", "audio/flac"],
};

/**
 * @param {ArrayBuffer[]} chunks PCM, signed 16 bit little endian mono, without any header
 * @param {number} sampleRate Hz
 * @returns {Blob} with one header that has the right sizes
 */
export function wavFile(chunks, sampleRate) {
  const bytes = chunks.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  return new Blob([wavHeader(bytes, sampleRate), ...chunks], { type: "audio/wav" });
}

/**
 * The chunks of one task as the file that a person expects: PCM becomes WAV, and a WAV whose
 * header was written before its length was known gets the right one.
 *
 * @param {ArrayBuffer[]} chunks as they came
 * @param {{format: string, sampleRate: number}} stream
 * @returns {{blob: Blob, extension: string}}
 * @throws {import("./wav.js").WavError} the stream said wav and is none
 */
export function audioFile(chunks, { format, sampleRate }) {
  const [extension, type] = TYPES[format] ?? ["bin", "application/octet-stream"];
  if (format === "pcm") return { blob: wavFile(chunks, sampleRate), extension };
  if (format === "wav") {
    const reader = new WavReader();
    const samples = chunks.map((chunk) => reader.push(chunk));
    return { blob: wavFile(samples, reader.sampleRate ?? sampleRate), extension };
  }
  return { blob: new Blob(chunks, { type }), extension };
}

/**
 * @param {import("./subtitles.js").Sentence[]} sentences
 * @returns {string} SubRip: one cue per sentence
 */
export function srt(sentences) {
  const cues = spoken(sentences).map(
    ({ text, beginMs, endMs }, i) =>
      `${i + 1}\n${time(beginMs, ",")} --> ${time(endMs, ",")}\n${text}\n`,
  );
  return cues.join("\n");
}

/**
 * @param {import("./subtitles.js").Sentence[]} sentences
 * @returns {string} WebVTT: one cue per sentence
 */
export function vtt(sentences) {
  const cues = spoken(sentences).map(
    ({ text, beginMs, endMs }) =>
      `${time(beginMs, ".")} --> ${time(endMs, ".")}\n${escapeMarkup(text)}\n`,
  );
  return ["WEBVTT\n", ...cues].join("\n");
}

/** An empty line would end a cue, and an empty cue is none. */
function spoken(sentences) {
  return sentences
    .map((sentence) => ({ ...sentence, text: sentence.text.trim().replace(/\s+/g, " ") }))
    .filter((sentence) => sentence.text);
}

function time(ms, separator) {
  const whole = Math.round(ms);
  const two = (value) => String(Math.floor(value)).padStart(2, "0");
  const clock = [whole / 3600000, (whole / 60000) % 60, (whole / 1000) % 60].map(two).join(":");
  return clock + separator + String(whole % 1000).padStart(3, "0");
}

/** WebVTT reads `<` as a tag and `&` as an entity. */
function escapeMarkup(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}
