// The sound as it arrives, with the borders of its chunks, from the whole down to single samples.

import { WaveformTrack } from "./waveform-track.js";
import { WaveformView } from "./waveform-view.js";

const LEAST_S = 3;
const JOIN_S = 0.02;
const ZOOM = 2;
/** Closer than this, samples are a line, and the picture is as high as they are. */
const CLOSE_S = 0.05;
/** Pixels between two lines. */
const CLOSEST_BORDERS = 14;

/** Fires `change` when what is seen has changed, and `seek` with `detail.positionS` on a click. */
export class Waveform extends EventTarget {
  #track = new WaveformTrack();
  #view = new WaveformView(1);
  #positionS = 0;
  #sampleRate = 1;
  #drawing = false;

  /** @param {HTMLCanvasElement} canvas */
  constructor(canvas) {
    super();
    this.canvas = canvas;
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("wheel", (event) => this.#wheel(event), { passive: false });
    canvas.addEventListener("pointerdown", (event) => this.#drag(event));
    canvas.addEventListener("keydown", (event) => this.#key(event));
    this.reset(16000);
  }

  /** @param {number} sampleRate Hz of what comes */
  reset(sampleRate) {
    this.#sampleRate = sampleRate;
    this.#track = new WaveformTrack();
    this.#view = new WaveformView(LEAST_S * sampleRate);
    this.#positionS = 0;
    this.#changed();
  }

  /**
   * @param {Float32Array} samples
   * @param {boolean} chunk a border is drawn where it begins
   */
  push(samples, chunk) {
    this.#track.push(samples, chunk);
    this.#view.total = this.#track.length;
    this.#changed();
  }

  /** @param {number} positionS what is heard */
  heard(positionS) {
    const movedSamples = Math.abs(positionS - this.#positionS) * this.#sampleRate;
    // A picture in which nothing moves by a pixel need not be drawn again.
    if (movedSamples < this.#view.length / this.canvas.clientWidth) return;
    this.#positionS = positionS;
    this.#view.follow(positionS * this.#sampleRate);
    this.draw();
  }

  /** Nothing is there to be seen. */
  get empty() {
    return this.#track.length === 0;
  }

  /** Borders between two chunks. */
  get joins() {
    return this.#track.borders.length;
  }

  fit() {
    this.#view.fit();
    this.#changed();
  }

  /** @param {number} factor above 1: closer */
  zoom(factor) {
    this.#view.zoom(factor, this.#view.begin + this.#view.length / 2);
    this.#changed();
  }

  /**
   * Shows the next border of two chunks closely; after the last one comes the first.
   *
   * @returns {{number: number, all: number, atS: number, step: number, beside: number} | null}
   */
  nextJoin() {
    const { borders } = this.#track;
    if (!borders.length) return null;
    const middle = this.#view.fitted ? -1 : this.#view.begin + this.#view.length / 2;
    const after = borders.findIndex((border) => border > middle + 1);
    const index = Math.max(0, after);
    const length = JOIN_S * this.#sampleRate;
    this.#view.show(borders[index] - length / 2, length);
    this.#changed();
    const steps = this.#track.joinSteps(borders[index]);
    return {
      number: index + 1,
      all: borders.length,
      atS: borders[index] / this.#sampleRate,
      ...steps,
    };
  }

  /** Draws soon, once, however often it is asked. */
  draw() {
    if (this.#drawing) return;
    this.#drawing = true;
    requestAnimationFrame(() => {
      this.#drawing = false;
      this.#paint();
    });
  }

  #changed() {
    this.draw();
    this.dispatchEvent(new Event("change"));
  }

  #paint() {
    const { clientWidth: width, clientHeight: height } = this.canvas;
    const ratio = devicePixelRatio;
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    const context = this.canvas.getContext("2d");
    context.scale(ratio, ratio);
    const style = getComputedStyle(this.canvas);
    const picture = {
      context,
      width,
      height,
      colour: (name) => style.getPropertyValue(name),
      perPixel: this.#view.length / width,
      x: (sample) => ((sample - this.#view.begin) / this.#view.length) * width,
    };
    this.#paintBorders(picture);
    const close = this.#view.length < CLOSE_S * this.#sampleRate;
    if (close) this.#paintLine(picture);
    else this.#paintPeaks(picture);
    this.#paintPosition(picture);
  }

  #paintBorders({ context, width, height, colour, x }) {
    const shown = this.#track.borders.map(x).filter((at) => at >= 0 && at <= width);
    // Lines this close would hide the sound; then a tick at the edge has to do.
    const ticks = shown.length > width / CLOSEST_BORDERS;
    context.strokeStyle = colour("--border-line");
    context.lineWidth = 1;
    context.setLineDash(ticks ? [] : [2, 3]);
    context.beginPath();
    for (const at of shown) {
      context.moveTo(Math.round(at) + 0.5, ticks ? height - 5 : 0);
      context.lineTo(Math.round(at) + 0.5, height);
    }
    context.stroke();
    context.setLineDash([]);
  }

  #paintPeaks({ context, width, height, colour, perPixel, x }) {
    const middle = height / 2;
    const heardX = x(this.#positionS * this.#sampleRate);
    context.fillStyle = colour("--wave");
    for (let pixel = 0; pixel < width; pixel += 1) {
      const begin = this.#view.begin + pixel * perPixel;
      if (begin >= this.#track.length) break;
      if (pixel >= heardX) context.fillStyle = colour("--wave-ahead");
      const [low, high] = this.#track.peak(begin, begin + perPixel);
      const top = middle - high * (middle - 3);
      const bottom = middle - low * (middle - 3);
      context.fillRect(pixel, top, 1, Math.max(1, bottom - top));
    }
  }

  #paintLine({ context, width, height, colour, x }) {
    const begin = Math.max(0, Math.floor(this.#view.begin) - 1);
    const end = Math.min(this.#track.length, Math.ceil(this.#view.begin + this.#view.length) + 1);
    const [low, high] = this.#track.peak(begin, end);
    const scale = (height / 2 - 6) / Math.max(0.02, high, -low);
    const dots = width / (end - begin) > 5;
    context.strokeStyle = context.fillStyle = colour("--wave");
    context.lineWidth = 1.5;
    context.beginPath();
    for (let i = begin; i < end; i += 1)
      context.lineTo(x(i), height / 2 - this.#track.at(i) * scale);
    context.stroke();
    if (!dots) return;
    for (let i = begin; i < end; i += 1) {
      context.fillRect(x(i) - 1.5, height / 2 - this.#track.at(i) * scale - 1.5, 3, 3);
    }
  }

  #paintPosition({ context, height, colour, x }) {
    if (!this.#positionS) return;
    context.fillStyle = colour("--accent");
    context.fillRect(Math.round(x(this.#positionS * this.#sampleRate)), 0, 2, height);
  }

  #sampleAt(event) {
    return this.#view.begin + (event.offsetX / this.canvas.clientWidth) * this.#view.length;
  }

  /** A plain wheel scrolls the page, as everywhere. */
  #wheel(event) {
    const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY);
    if (!event.ctrlKey && !event.metaKey && !(sideways && !this.#view.fitted)) return;
    event.preventDefault();
    if (sideways) this.#view.pan((event.deltaX / this.canvas.clientWidth) * this.#view.length);
    else this.#view.zoom(event.deltaY < 0 ? 1.25 : 0.8, this.#sampleAt(event));
    this.#changed();
  }

  /** A drag moves the picture, a click asks for that position. */
  #drag(down) {
    let lastX = down.clientX;
    let moved = 0;
    const { canvas } = this;
    const listening = new AbortController();
    const { signal } = listening;
    const move = ({ clientX }) => {
      moved += Math.abs(clientX - lastX);
      this.#view.pan(((lastX - clientX) / canvas.clientWidth) * this.#view.length);
      lastX = clientX;
      this.#changed();
    };
    const up = (event) => {
      listening.abort();
      if (moved > 4 || event.type === "pointercancel") return;
      const positionS = Math.min(this.#sampleAt(down), this.#track.length) / this.#sampleRate;
      this.dispatchEvent(new CustomEvent("seek", { detail: { positionS } }));
    };
    canvas.setPointerCapture(down.pointerId);
    canvas.addEventListener("pointermove", move, { signal });
    canvas.addEventListener("pointerup", up, { signal });
    canvas.addEventListener("pointercancel", up, { signal });
  }

  #key(event) {
    const page = this.#view.length / 4;
    const act = {
      "+": () => this.zoom(ZOOM),
      "=": () => this.zoom(ZOOM),
      "-": () => this.zoom(1 / ZOOM),
      0: () => this.fit(),
      ArrowLeft: () => this.#view.pan(-page),
      ArrowRight: () => this.#view.pan(page),
    }[event.key];
    if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    act();
    this.#changed();
  }
}
