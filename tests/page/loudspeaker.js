// Runs before the page's own scripts and records, sample by sample, what Web Audio hands to the
// loudspeaker. The recorder comes from a blob, so the page's context must bypass its CSP.
(() => {
  const RECORDER = `registerProcessor("recorder", class extends AudioWorkletProcessor {
    process([[samples]]) {
      if (samples) this.port.postMessage(samples.slice());
      return true;
    }
  });`;
  const blocks = [];
  const { addModule } = AudioWorklet.prototype;
  const { connect } = AudioNode.prototype;

  AudioWorklet.prototype.addModule = async function (...module) {
    const url = URL.createObjectURL(new Blob([RECORDER], { type: "text/javascript" }));
    await addModule.call(this, url);
    return addModule.apply(this, module);
  };

  AudioNode.prototype.connect = function (target, ...rest) {
    if (target instanceof AudioDestinationNode) {
      const recorder = new AudioWorkletNode(this.context, "recorder");
      recorder.port.onmessage = ({ data }) => blocks.push(data);
      connect.call(this, recorder);
      connect.call(recorder, target); // silence, but it makes the recorder run
    }
    return connect.call(this, target, ...rest);
  };

  globalThis.loudspeaker = {
    /** All samples so far, as the text of their bytes (float32). */
    async recorded() {
      const bytes = new Uint8Array(await new Blob(blocks).arrayBuffer());
      return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
    },
  };
})();
