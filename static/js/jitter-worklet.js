// The AudioWorklet "jitter": a JitterEngine between the page's messages and the loudspeaker.

import { JitterEngine } from "./jitter-engine.js";

class JitterProcessor extends AudioWorkletProcessor {
  constructor({ processorOptions }) {
    super();
    this.engine = new JitterEngine({
      sampleRate,
      post: (message) => this.port.postMessage(message),
      jitter: processorOptions,
    });
    this.port.onmessage = ({ data }) => this.engine.receive(data);
  }

  process(_inputs, [[out]]) {
    return this.engine.process(out, currentTime);
  }
}

registerProcessor("jitter", JitterProcessor);
