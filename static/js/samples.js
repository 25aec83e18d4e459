// Texts to begin with, and a sentence for hearing a voice.

/** Each shows something: Chinese, English with numbers, both mixed, and enough to stream for long. */
export const SAMPLES = {
  zh: "你好，很高兴认识你。今天是2025年3月12日，气温23.5℃，适合出去走走。你想先去公园，还是先去书店？",
  en: "Hello, nice to meet you. The first train leaves at 7:45 from platform 12, and a ticket costs $3.50. Shall we go together?",
  mixed:
    "我们用 WebSocket 把文字一段一段发给服务器，it starts speaking before the last word is written. 延迟只有 120 ms 左右，比等整段文本快得多。",
  long: [
    "清晨的码头还很安静，渔船一只接一只靠岸。船上的人把夜里的收获搬下来，一筐一筐摆在石阶上。",
    "卖早点的小店已经开了门，蒸笼里的热气一直飘到街角。老板一边招呼客人，一边听收音机里的天气预报：今天晴，东南风三到四级，最高气温二十六度。",
    "太阳慢慢升起来，照亮了对岸的灯塔。孩子们背着书包跑过石桥，说笑声传得很远。",
    "By noon the fog has lifted. A ferry crosses the bay every twenty minutes, and from its upper deck you can count eleven islands.",
    "Nobody here is in a hurry. The bookseller reads behind her counter, the baker closes at two, and when it rains everybody waits under the same old roof.",
    "傍晚，灯塔又亮了。一天就这样过去，明天还会这样开始。",
  ].join("\n"),
};

const PREVIEWS = {
  zh: "你好，这是我的声音，希望你喜欢。",
  yue: "你好，呢個係我嘅聲音，希望你鍾意。",
  en: "Hello, this is my voice. I hope you like it.",
  ja: "こんにちは、これが私の声です。",
  ko: "안녕하세요, 이것이 제 목소리입니다.",
  de: "Hallo, das ist meine Stimme.",
  fr: "Bonjour, voici ma voix.",
  es: "Hola, esta es mi voz.",
  it: "Ciao, questa è la mia voce.",
  pt: "Olá, esta é a minha voz.",
  ru: "Здравствуйте, это мой голос.",
  ar: "مرحبا، هذا صوتي.",
  hi: "नमस्ते, यह मेरी आवाज़ है।",
};

/**
 * @param {string} language BCP 47 tag of a voice
 * @returns {string} a sentence in it, or in English
 */
export function previewText(language) {
  const main = language.split("-")[0];
  return PREVIEWS[main === "cmn" ? "zh" : main] ?? PREVIEWS.en;
}
