// Small pictures wait their turn: at most two at a time, those asked for last first, none while the slide itself loads,
// and what has left the screen is not fetched at all. A browser keeps six connections; the slide needs the others.

const AT_ONCE = 2;
const REST_MS = 5000;
const HOLD_MS = 4000; // the longest that small pictures wait for the slide

class PictureQueue {
  constructor() {
    this.waiting = []; // {image, url}
    this.running = new Set();
    this.held = false;
  }

  /** Show a picture in an <img> when its turn comes; whatever the image waited for before is given up. */
  load(image, url, { held = true } = {}) {
    this.drop(image);
    if (!url || url.startsWith("data:")) {
      if (url) image.src = url;
      return;
    }
    this.waiting.push({ image, url, held });
    this.next();
  }

  /** Give a picture up: it has left the screen. */
  drop(image) {
    this.waiting = this.waiting.filter((item) => item.image !== image);
    for (const item of this.running) if (item.image === image) item.stop.abort();
    if (image.dataset.blob) {
      URL.revokeObjectURL(image.dataset.blob);
      delete image.dataset.blob;
    }
    image.removeAttribute("src");
    image.classList.remove("broken");
  }

  /** Let the slide go first, until `release` or a few seconds have passed. What is under way is given up and asked again. */
  hold() {
    this.held = true;
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.release(), HOLD_MS);
    for (const item of this.running) {
      if (!item.held) continue;
      item.again = true;
      item.stop.abort();
    }
  }

  release() {
    clearTimeout(this.timer);
    this.held = false;
    this.next();
  }

  next() {
    while (this.running.size < AT_ONCE) {
      const place = this.waiting.findLastIndex((item) => !this.held || !item.held);
      if (place < 0 || Date.now() < (this.restUntil ?? 0)) return;
      this.fetch(this.waiting.splice(place, 1)[0]);
    }
  }

  async fetch(item) {
    this.running.add(item);
    item.stop = new AbortController();
    item.again = false;
    const { image, url } = item;
    try {
      const answer = await fetch(url, { signal: item.stop.signal, credentials: "same-origin", priority: "low" });
      if (!answer.ok) throw new Error(answer.status);
      const blob = await answer.blob();
      if (!item.stop.signal.aborted) {
        image.dataset.blob = URL.createObjectURL(blob);
        image.src = image.dataset.blob;
      }
    } catch (error) {
      if (error instanceof TypeError) this.restUntil = Date.now() + REST_MS; // nobody answers
      if (item.again && image.isConnected) this.waiting.unshift(item);
      else if (!item.stop.signal.aborted) image.classList.add("broken");
    } finally {
      this.running.delete(item);
      this.next();
    }
  }
}

export const pictures = new PictureQueue();
