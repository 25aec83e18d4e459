// Speaks through the class SpeechSynthesizer of the npm package `alibabacloud-nls`. Reads one
// scenario as JSON on standard input, writes what it heard as JSON.
"use strict"

const { readFileSync } = require("node:fs")
const { createRequire } = require("node:module")
const { join } = require("node:path")

const scenario = JSON.parse(readFileSync(0, "utf8"))
const { SpeechSynthesizer } = createRequire(join(scenario.package_dir, "x.cjs"))("alibabacloud-nls")

const config = { url: scenario.url, appkey: "appkey", token: scenario.token ?? "token" }
const heard = { audio: [], meta: [], completed: null, failed: null, closed: false }

async function main() {
  const tts = new SpeechSynthesizer(config, scenario.is_long)
  tts.on("data", (data) => heard.audio.push(data.toString("base64")))
  tts.on("meta", (text) => heard.meta.push(text))
  const closing = new Promise((resolve) => tts.on("closed", () => { heard.closed = true; resolve() }))
  const param = Object.assign(tts.defaultStartParams(scenario.voice), scenario.param)
  try {
    heard.completed = await tts.start(param, true, 50)
  } catch (error) {
    heard.failed = error
  }
  await closing
  process.stdout.write(JSON.stringify(heard))
}

main().catch((error) => {
  process.stderr.write(String(error?.message ?? error) + "\n")
  process.exitCode = 1
})
