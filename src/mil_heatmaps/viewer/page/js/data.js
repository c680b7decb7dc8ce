// Where slides, tiles and scores come from: the local server, or the file itself when the page was exported.

export function openData() {
  const embedded = document.getElementById("embedded");
  return embedded ? new EmbeddedData(JSON.parse(embedded.textContent)) : new ServerData();
}

async function read(url, as) {
  const answer = await fetch(url, { credentials: "same-origin" });
  if (!answer.ok) throw new Error((await answer.text()) || `${answer.status} ${url}`);
  return answer[as]();
}

class ServerData {
  exported = false;

  async index() {
    const index = await read("/api/slides.json", "json");
    this.base = index.data;
    return index;
  }

  describe(slide) {
    return read(`/api/slides/${slide}.json`, "json");
  }

  async link() {
    const { token } = await read("/api/link.json", "json");
    return `${location.origin}/?token=${token}${location.hash}`;
  }

  slideTile(slide, level, column, row) {
    return `${this.base}/slides/${slide}/${level}/${column}/${row}`;
  }

  pictureTile(slide, picture, level, column, row) {
    return `${this.base}/pictures/${slide}/${picture}/${level}/${column}/${row}`;
  }

  thumbnail(slide) {
    return `${this.base}/slides/${slide}/thumbnail`;
  }

  patch(slide, layer, index) {
    return `${this.base}/scores/${slide}/${layer}/patches/${index}`;
  }

  async coords(slide, layer) {
    return new Int32Array(await read(`${this.base}/scores/${slide}/${layer}/coords`, "arrayBuffer"));
  }

  async column(slide, layer, column) {
    return new Float32Array(await read(`${this.base}/scores/${slide}/${layer}/columns/${column}`, "arrayBuffer"));
  }

  tissue(slide) {
    return read(`${this.base}/slides/${slide}/tissue`, "json");
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

  pictureTile(_slide, picture, level, column, row) {
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

  async tissue() {
    return this.content.tissue;
  }
}
