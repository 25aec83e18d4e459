// Shows what the server says of itself. Addresses are relative, so that a sub path works.

const here = new URL(".", document.baseURI.replace(/ws\/v1\/tts\/test$/, ""));
const speech = new URL("ws/v1/tts", here);
speech.protocol = here.protocol === "https:" ? "wss:" : "ws:";

function row(list, name, value) {
  const term = document.createElement("dt");
  term.textContent = name;
  const description = document.createElement("dd");
  description.textContent = value;
  list.append(term, description);
}

async function showStatus() {
  const list = document.getElementById("status");
  list.replaceChildren();
  try {
    const status = await (await fetch(new URL("status", here))).json();
    const ready = status.workers.filter((worker) => worker.state === "ready");
    const models = [...new Set(status.workers.map((worker) => worker.model))].join(", ");
    row(list, "Version", status.version);
    row(list, "Models", models);
    row(list, "Workers", `${ready.length} of ${status.workers.length} ready`);
    row(list, "Tasks", `${status.sessions} running, ${status.queued} segments waiting`);
  } catch (error) {
    row(list, "Server", `does not answer: ${error.message}`);
  }
}

const addresses = document.getElementById("addresses");
row(addresses, "Aliyun SDK", speech.href);
row(addresses, "Voice list", new URL("stream/v1/tts/voices", here).href);
document.getElementById("try").textContent =
  `cosystream say --url ${speech.href} "你好，很高兴认识你。"`;
showStatus();
setInterval(showStatus, 2000);
