// Where slides, tiles and scores come from: the local server, or the file itself when the page was exported. Addresses
// are relative to the page's, whatever a gateway puts in front of them.

export function openData() {
  const embedded = document.getElementById("embedded");
  return embedded ? new EmbeddedData(JSON.parse(embedded.textContent)) : new ServerData();
}

const GONE = "The viewer does not answer: it was stopped. Start it again, then reload this page.";
const LOCKED = "The viewer was restarted and does not know this browser. Open the link it printed.";

const KEPT_ALIVE = 60_000; // bytes that a browser sends even when the page is being closed

/** Fetch an address; errors are sentences. `signal` aborts it. */
export async function ask(url, as = "json", options = {}) {
  let answer;
  try {
    answer = await fetch(url, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(GONE);
  }
  if (!answer.ok) {
    const error = new Error(answer.status === 403 ? LOCKED : (await answer.text()) || `${answer.status} ${url}`);
    error.status = answer.status;
    throw error;
  }
  return answer[as]();
}

class ServerData {
  exported = false;

  async index() {
    const index = await ask("api/slides.json");
    this.base = index.data;
    return index;
  }

  describe(slide, signal) {
    return ask(`api/slides/${slide}.json`, "json", { signal, priority: "high" });
  }

  changes(slide) {
    return ask(`api/changes/${slide}.json`);
  }

  /** Read or, with a value, write what a reader leaves. */
  notes(place, value) {
    const body = JSON.stringify(value);
    const options = value === undefined ? {} : {
      method: "PUT", body, keepalive: body.length < KEPT_ALIVE,
      headers: { "content-type": "application/json", "x-heatmap-viewer": "1" },
    };
    return ask(`api/notes/${place}.json`, "json", options);
  }

  async link() {
    const { token } = await ask("api/link.json");
    return `${new URL("./", location.href.replace(/[?#].*/, ""))}?token=${token}${location.hash}`;
  }

  slideTile(slide, level, column, row) {
    return `${this.base}/slides/${slide}/${level}/${column}/${row}`;
  }

  pictureTile(slide, { picture, stamp }, level, column, row) {
    return `${this.base}/pictures/${slide}/${picture}/${level}/${column}/${row}?v=${stamp}`;
  }

  thumbnail(slide) {
    return `${this.base}/slides/${slide}/thumbnail`;
  }

  /** A part of a slide as a small picture. @param {number[]} box x, y, width, height in level-0 pixels */
  box(slide, box) {
    return `${this.base}/slides/${slide}/boxes/${box.join("/")}`;
  }

  lists() {
    return ask("api/lists.json");
  }

  patch(slide, layer, index) {
    return `${this.base}/scores/${slide}/${layer}/patches/${index}`;
  }

  scores(slide, layer, what, stamp) {
    return ask(`${this.base}/scores/${slide}/${layer}/${what}?v=${stamp ?? ""}`, "arrayBuffer", { priority: "high" });
  }

  async coords(slide, layer, stamp) {
    return new Int32Array(await this.scores(slide, layer, "coords", stamp));
  }

  async column(slide, layer, column, stamp) {
    return new Float32Array(await this.scores(slide, layer, `columns/${column}`, stamp));
  }

  /** How alike the patches of a layer are to a patch: {slide, layer, patch}. */
  aboutLike(slide, layer, like) {
    return ask(`api/like/${slide}/${layer}/${like.slide}/${like.layer}/${like.patch}.json`);
  }

  async like(slide, layer, like) {
    const url = `${this.base}/scores/${slide}/${layer}/like/${like.slide}/${like.layer}/${like.patch}`;
    return new Float32Array(await ask(url, "arrayBuffer"));
  }

  async inside(slide, layer, stamp) {
    return new Uint8Array(await this.scores(slide, layer, "inside", stamp));
  }

  tissue(slide) {
    return ask(`${this.base}/slides/${slide}/tissue`);
  }
}

function bytesOf(base64) {
  return Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0)).buffer;
}

const BLANK = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7";

class EmbeddedData {
  exported = true;

  constructor(content) {
    this.content = content;
  }

  async index() {
    return this.content.index;
  }

  async describe() {
    return this.content.slide;
  }

  async link() {
    return location.href;
  }

  slideTile(_slide, level, column, row) {
    return this.content.tiles[`${level}/${column}/${row}`] ?? BLANK;
  }

  pictureTile(_slide, { picture }, level, column, row) {
    return this.content.pictures[`${picture}/${level}/${column}/${row}`] ?? BLANK;
  }

  thumbnail() {
    return this.content.tiles["0/0/0"] ?? BLANK;
  }

  patch(_slide, layer, index) {
    return this.content.patches[`${layer}/${index}`] ?? null;
  }

  async coords(_slide, layer) {
    return new Int32Array(bytesOf(this.content.coords[layer]));
  }

  async column(_slide, layer, column) {
    return new Float32Array(bytesOf(this.content.columns[`${layer}/${column}`]));
  }

  async inside(_slide, layer) {
    return new Uint8Array(bytesOf(this.content.inside[layer]));
  }

  async tissue() {
    return this.content.tissue;
  }
}
