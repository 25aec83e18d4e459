// A small line of the last values, for the depth of the buffer.

const SHOWN = 150;
/** So many values at first fill the width, then they move closer together. */
const LEAST = 40;

export class Sparkline {
  #values = [];

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    this.canvas = canvas;
  }

  /** Forgets all values. */
  reset() {
    this.#values = [];
    this.draw();
  }

  /** @param {number} value not negative */
  push(value) {
    this.#values.push(value);
    if (this.#values.length > SHOWN) this.#values.shift();
    this.draw();
  }

  draw() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    if (this.#values.length < 2) return;
    const style = getComputedStyle(this.canvas);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const most = Math.max(...this.#values, 1);
    const x = (i) => (i / (Math.max(LEAST, this.#values.length) - 1)) * width;
    const y = (value) => height - 2 - (value / most) * (height - 4);
    context.beginPath();
    this.#values.forEach((value, i) => context.lineTo(x(i), y(value)));
    context.lineWidth = 1.5;
    context.lineJoin = "round";
    context.strokeStyle = style.getPropertyValue("--accent");
    context.stroke();
    context.lineTo(x(this.#values.length - 1), height);
    context.lineTo(0, height);
    context.fillStyle = style.getPropertyValue("--accent-soft");
    context.globalCompositeOperation = "destination-over";
    context.fill();
  }
}
