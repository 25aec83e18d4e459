// Whole programs that make the same request, to be pasted and run.

import { restAddress, speechAddress } from "./addresses.js";

const EXTENSIONS = { pcm: "pcm", wav: "wav", mp3: "mp3", opus: "opus", aac: "aac", flac: "flac" };
const DEFAULT_FORMAT = "pcm";
const DEFAULT_RATE_HZ = 16000;
const LOOPBACK = /^(localhost|127\.\d+\.\d+\.\d+|\[::1\])$/;

/**
 * For a POSIX shell: the request over plain HTTP.
 *
 * @param {string} url any address of the server, or the page's own
 * @param {string} token "" for none; it stands in the program as it is
 * @param {object} params the payload of StartSynthesis
 * @param {string} text
 * @returns {string}
 */
export function curl(url, token, params, text) {
  const { format, sampleRate } = stream(params);
  const file = `speech.${EXTENSIONS[format]}`;
  // Subtitles are messages of the WebSocket; there are none over HTTP.
  const { enable_subtitle: _subtitles, ...parameters } = defined(params);
  const lines = [
    `curl --fail-with-body --no-buffer ${shellQuote(restAddress(url))}`,
    "-H 'Content-Type: application/json'",
    ...(token ? [`-H ${shellQuote(`X-NLS-Token: ${token}`)}`] : []),
    `--data-raw ${shellQuote(JSON.stringify({ ...parameters, text }))}`,
    `--output ${file}`,
  ];
  const program = `${lines.join(" \\\n  ")}\n`;
  if (format !== "pcm") return program;
  return `${program}# to hear it: ffmpeg -f s16le -ar ${sampleRate} -i speech.pcm speech.wav\n`;
}

/**
 * For Python 3.9 or newer with the package `websockets`.
 *
 * @param {string} url any address of the server, or the page's own
 * @param {string} token "" for none; it stands in the program as it is
 * @param {object} params the payload of StartSynthesis
 * @param {string} text
 * @returns {string}
 */
export function python(url, token, params, text) {
  const { format, sampleRate } = stream(params);
  const address = speechAddress(url);
  const options = [
    ...(token ? ['additional_headers={"X-NLS-Token": TOKEN}'] : []),
    // A proxy of the environment does not lead to one's own machine.
    ...(LOOPBACK.test(new URL(address).hostname) ? ["proxy=None"] : []),
  ];
  return `# pip install "websockets>=15"
import asyncio
import json
import uuid
${format === "pcm" ? "import wave\n" : ""}
from websockets.asyncio.client import connect

URL = ${JSON.stringify(address)}
${token ? `TOKEN = ${JSON.stringify(token)}\n` : ""}PARAMETERS = ${pythonLiteral(defined(params))}
TEXT = ${JSON.stringify(text)}
TASK_ID = uuid.uuid4().hex


def message(name, payload):
    header = {
        "appkey": "default",
        "message_id": uuid.uuid4().hex,
        "task_id": TASK_ID,
        "namespace": "FlowingSpeechSynthesizer",
        "name": name,
    }
    return json.dumps({"header": header, "payload": payload})


async def speak():
    audio = bytearray()
    async with connect(${["URL", ...options].join(", ")}) as server:
        await server.send(message("StartSynthesis", PARAMETERS))
        # Pieces may have any size: a language model's tokens can be sent as they come.
        for begin in range(0, len(TEXT), 5000):
            await server.send(message("RunSynthesis", {"text": TEXT[begin : begin + 5000]}))
        await server.send(message("StopSynthesis", {}))
        async for data in server:
            if isinstance(data, bytes):
                audio += data
                continue
            header = json.loads(data)["header"]
            if header["name"] == "TaskFailed":
                raise SystemExit(f"{header['status']} {header['status_text']}")
            if header["name"] == "SynthesisCompleted":
                break
    return audio


${pythonSave(format, sampleRate)}`;
}

function pythonSave(format, sampleRate) {
  if (format !== "pcm") {
    const file = `speech.${EXTENSIONS[format]}`;
    return `with open("${file}", "wb") as file:\n    file.write(asyncio.run(speak()))\n`;
  }
  return `with wave.open("speech.wav", "wb") as file:
    file.setnchannels(1)
    file.setsampwidth(2)
    file.setframerate(${sampleRate})
    file.writeframes(asyncio.run(speak()))
`;
}

/**
 * For Node 22 or newer, and for the console of a browser.
 *
 * @param {string} url any address of the server, or the page's own
 * @param {string} token "" for none; it stands in the program as it is
 * @param {object} params the payload of StartSynthesis
 * @param {string} text
 * @returns {string}
 */
export function javascript(url, token, params, text) {
  const { format, sampleRate } = stream(params);
  const address = new URL(speechAddress(url));
  if (token) address.searchParams.set("token", token);
  const pcm = format === "pcm";
  return `// node speech.mjs (22 or newer), or paste it into the console of a browser.
async function speak() {
  const url = ${JSON.stringify(address.href)};
  const parameters = ${JSON.stringify(defined(params), null, 2).replaceAll("\n", "\n  ")};
  const text = ${JSON.stringify(text)};
  const hex = (byte) => byte.toString(16).padStart(2, "0");
  const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), hex).join("");
  const taskId = newId();
  const audio = [];
  const server = new WebSocket(url);
  server.binaryType = "arraybuffer";
  const send = (name, payload) => {
    const header = {
      appkey: "default",
      message_id: newId(),
      task_id: taskId,
      namespace: "FlowingSpeechSynthesizer",
      name,
    };
    server.send(JSON.stringify({ header, payload }));
  };
  await new Promise((resolve, reject) => {
    server.onopen = () => {
      send("StartSynthesis", parameters);
      // Pieces may have any size: a language model's tokens can be sent as they come.
      const characters = Array.from(text);
      while (characters.length) send("RunSynthesis", { text: characters.splice(0, 5000).join("") });
      send("StopSynthesis", {});
    };
    server.onmessage = ({ data }) => {
      if (typeof data !== "string") return void audio.push(data);
      const { header } = JSON.parse(data);
      if (header.name === "TaskFailed") reject(new Error(header.status + " " + header.status_text));
      if (header.name === "SynthesisCompleted") resolve();
    };
    server.onclose = ({ code }) => reject(new Error("the connection was closed: " + code));
  });
  server.close();
${pcm ? javascriptHeader(sampleRate) : ""}  return new Blob(audio);
}

async function save(file, name) {
  if (typeof document === "undefined") {
    const { writeFile } = await import("node:fs/promises");
    await writeFile(name, new Uint8Array(await file.arrayBuffer()));
    return;
  }
  const link = document.createElement("a");
  link.href = URL.createObjectURL(file);
  link.download = name;
  link.click();
}

await save(await speak(), ${JSON.stringify(`speech.${pcm ? "wav" : EXTENSIONS[format]}`)});
`;
}

function javascriptHeader(sampleRate) {
  return `  const bytes = audio.reduce((sum, chunk) => sum + chunk.byteLength, 0);
  const header = new DataView(new ArrayBuffer(44));
  [..."RIFF    WAVEfmt "].forEach((c, i) => header.setUint8(i, c.charCodeAt(0)));
  [..."data"].forEach((c, i) => header.setUint8(36 + i, c.charCodeAt(0)));
  header.setUint32(4, 36 + bytes, true);
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // mono
  header.setUint32(24, ${sampleRate}, true);
  header.setUint32(28, ${2 * sampleRate}, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  header.setUint32(40, bytes, true);
  audio.unshift(header.buffer);
`;
}

function stream(params) {
  const format = (params.format || DEFAULT_FORMAT).toLowerCase();
  return { format, sampleRate: params.sample_rate ?? DEFAULT_RATE_HZ };
}

function defined(params) {
  return Object.fromEntries(Object.entries(params).filter(([, value]) => value != null));
}

function shellQuote(text) {
  return `'${text.replaceAll("'", "'\\''")}'`;
}

/** JSON is Python but for the names of its constants. */
function pythonLiteral(parameters) {
  const value = (item) => {
    if (item === true) return "True";
    if (item === false) return "False";
    return JSON.stringify(item);
  };
  const lines = Object.entries(parameters).map(
    ([name, item]) => `    ${JSON.stringify(name)}: ${value(item)},`,
  );
  return `{\n${lines.join("\n")}\n}`;
}
