// Speaks FlowingSpeechSynthesizer through the generic client class of the npm package
// `alibabacloud-nls`. Reads one scenario as JSON on standard input, writes what it heard as JSON.
"use strict"

const { readFileSync } = require("node:fs")
const { join } = require("node:path")

const scenario = JSON.parse(readFileSync(0, "utf8"))
// By its path, because the package exports only the classes of other services.
const NlsClient = require(join(scenario.package_dir, "node_modules/alibabacloud-nls/lib/nls.js"))

const namespace = scenario.namespace ?? "FlowingSpeechSynthesizer"
const client = new NlsClient({ url: scenario.url, appkey: "appkey", token: scenario.token ?? "token" })
const heard = { tasks: [], pongs: 0, closed: false }
let task = null
let settle = null
let onClosed = null
const closing = new Promise((resolve) => { onClosed = resolve })

function request(name, payload) {
  const header = {
    message_id: client.uuid(), task_id: task.task_id, namespace, name, appkey: "appkey",
  }
  const message = { header, context: client.defaultContext() }
  if (payload !== undefined) message.payload = payload
  client.send(JSON.stringify(message), false)
}

function onMessage(data, isBinary) {
  if (isBinary) {
    task.steps.push({ audio: data.toString("base64") })
    if (scenario.hang_up_after_frames === task.steps.filter((step) => step.audio).length) {
      client.shutdown()
      settle("hung up")
    }
    return
  }
  const text = data.toString()
  task.steps.push({ text })
  const name = JSON.parse(text).header.name
  if (name === "SynthesisStarted") {
    for (const piece of scenario.pieces) request("RunSynthesis", { text: piece })
    request("StopSynthesis")
  } else if (name === "SynthesisCompleted" || name === "TaskFailed") {
    settle(name)
  }
}

async function speak() {
  task = { task_id: client.uuid(), steps: [] }
  heard.tasks.push(task)
  const end = new Promise((resolve) => { settle = resolve })
  request("StartSynthesis", scenario.start)
  task.end = await end
  return task.end
}

async function main() {
  await client.start(onMessage, () => { heard.closed = true; onClosed() })
  const ponged = new Promise((resolve) => {
    client._ws.on("pong", () => { heard.pongs += 1; resolve() })
  })
  if (scenario.ping_ms) client.setPing(scenario.ping_ms)
  let end = null
  for (let i = 0; i < scenario.tasks && end !== "TaskFailed"; i += 1) end = await speak()
  if (end === "TaskFailed") await closing
  else if (scenario.ping_ms) await ponged
  client.shutdown()
  process.stdout.write(JSON.stringify(heard))
}

main().catch((error) => {
  process.stderr.write(String(error?.message ?? error) + "\n")
  process.exitCode = 1
})
