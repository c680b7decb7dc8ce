// What a pane shows, as a short text: 'slide', '0.1' (layer 0, column 1), 'p2' (layer 2, a picture),
// '0.1-1.0' (their difference).

const NUMBERS = /^(\d+)\.(\d+)(?:-(\d+)\.(\d+))?$/;

export function parseContent(text) {
  if (/^p\d+$/.test(text)) return { kind: "picture", layer: Number(text.slice(1)) };
  const match = NUMBERS.exec(text);
  if (!match) return { kind: "slide" };
  const a = { layer: Number(match[1]), column: Number(match[2]) };
  if (match[3] === undefined) return { kind: "scores", ...a };
  return { kind: "difference", a, b: { layer: Number(match[3]), column: Number(match[4]) } };
}

/** Whether a content can be shown with these layers. */
export function exists(text, layers) {
  const content = parseContent(text);
  const column = (at) => layers[at.layer]?.type === "scores" && at.column < layers[at.layer].names.length;
  switch (content.kind) {
    case "picture":
      return layers[content.layer]?.type === "picture";
    case "scores":
      return column(content);
    case "difference":
      return column(content.a) && column(content.b);
    default:
      return text === "slide";
  }
}

/** Name of a score and class, short enough for a menu. */
export function columnTitle(layers, { layer, column }) {
  const about = layers[layer];
  const files = new Set(layers.filter((other) => other.type === "scores").map((other) => other.file));
  const parts = files.size > 1 ? [about.title] : [];
  parts.push(about.score);
  if (about.names.length > 1 || about.names[0] !== about.score) parts.push(about.names[column]);
  return parts.join(" · ");
}

export function contentTitle(text, layers) {
  const content = parseContent(text);
  switch (content.kind) {
    case "picture":
      return `picture · ${layers[content.layer].title}`;
    case "scores":
      return columnTitle(layers, content);
    case "difference":
      return `${columnTitle(layers, content.a)} − ${columnTitle(layers, content.b)}`;
    default:
      return "slide";
  }
}

/** Everything a pane can show, in groups for a menu. `base` is what differences are taken from. */
export function choices(layers, base) {
  const columns = [];
  const pictures = [];
  layers.forEach((about, layer) => {
    if (about.type === "picture") pictures.push(`p${layer}`);
    else about.names.forEach((_, column) => columns.push(`${layer}.${column}`));
  });
  const differences = base ? columns.filter((column) => column !== base).map((column) => `${base}-${column}`) : [];
  return [
    ["", ["slide"]],
    ["Scores", columns],
    ["Pictures", pictures],
    ["Difference", differences],
  ].filter(([, items]) => items.length);
}

/** The first content worth showing: the predicted class of the first scores, else the first layer. */
export function preferred(layers) {
  const first = layers.findIndex((about) => about.type === "scores");
  if (first >= 0) {
    const about = layers[first];
    const column = about.prediction?.task === "classification" ? about.names.indexOf(about.prediction.classes[about.prediction.predicted]) : -1;
    return `${first}.${Math.max(0, column)}`;
  }
  return layers.length ? "p0" : "slide";
}

/** Contents of the panes for a slide: those asked for where they exist, else slide and heatmaps. */
export function panesFor(asked, layers) {
  const kept = asked.split(";").filter((text) => text && exists(text, layers));
  if (kept.length) return kept.slice(0, 4);
  const first = preferred(layers);
  if (first === "slide") return ["slide"];
  // Score files given for comparison come one a pane, and so do pictures.
  const others = layers
    .map((about, layer) => (about.type === "picture" ? `p${layer}` : `${layer}.0`))
    .filter((text, layer, all) => isFirstOfFile(layers, layer) && all.indexOf(text) === layer)
    .filter((text) => parseContent(text).layer !== parseContent(first).layer);
  return ["slide", first, ...others.slice(0, 1)];
}

function isFirstOfFile(layers, layer) {
  const about = layers[layer];
  return about.type === "picture" || layers.findIndex((other) => other.file === about.file) === layer;
}
