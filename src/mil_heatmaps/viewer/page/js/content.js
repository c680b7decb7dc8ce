// What a pane shows, as a short text: 'slide', '0.1' (layer 0, column 1), 'p2' (layer 2, a picture),
// '0.1-1.0' (their difference), 'beside' (the second slide).

const NUMBERS = /^(\d+)\.(\d+)(?:-(\d+)\.(\d+))?$/;

export function parseContent(text) {
  if (text === "beside") return { kind: "beside" };
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
    case "beside":
      return Boolean(layers.beside);
    default:
      return text === "slide";
  }
}

/** What tells a file's scores from those of the other files: title, run, model and checkpoint where they differ. */
export function sourceTitle(layers, about) {
  const files = layers.filter((other, i) =>
    other.type === "scores" && layers.findIndex((first) => first.type === "scores" && first.file === other.file) === i);
  if (files.length < 2) return "";
  const differ = (key) => new Set(files.map((other) => other[key] ?? "")).size > 1 && about[key];
  const parts = [about.title];
  if (differ("run") && !about.title.includes(about.run)) parts.push(about.run);
  if (differ("model")) parts.push(about.model);
  if (differ("checkpoint")) parts.push(`checkpoint ${about.checkpoint.slice(0, 8)}`);
  return parts.join(", ");
}

/** Name of a score and class, short enough for a menu. */
export function columnTitle(layers, { layer, column }) {
  const about = layers[layer];
  const parts = [sourceTitle(layers, about), about.score];
  if (about.names.length > 1 || about.names[0] !== about.score) parts.push(about.names[column]);
  return parts.filter(Boolean).join(" · ");
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
    case "beside":
      return `beside · ${layers.beside.name}`;
    default:
      return "slide";
  }
}

/** Whether one score may be subtracted from another: of the same kind, so that the difference has a unit. */
export function comparable(layers, a, b) {
  return layers[a.layer].kind === layers[b.layer].kind && layers[a.layer].score === layers[b.layer].score;
}

/** Everything a pane can show, in groups for a menu. `base` is the content that others are subtracted from. */
export function choices(layers, base) {
  const columns = [];
  const pictures = [];
  layers.forEach((about, layer) => {
    if (about.type === "picture") pictures.push(`p${layer}`);
    else about.names.forEach((_, column) => columns.push(`${layer}.${column}`));
  });
  const differences = base
    ? columns.filter((column) => column !== base && comparable(layers, parseContent(base), parseContent(column)))
      .map((column) => `${base}-${column}`)
    : [];
  return [
    ["", layers.beside ? ["slide", "beside"] : ["slide"]],
    ["Scores", columns],
    ["Pictures", pictures],
    ["Difference", differences],
  ].filter(([, items]) => items.length);
}

/** The first content worth showing: the predicted class of the first scores, else the first layer. */
export function preferred(layers) {
  const first = layers.findIndex((about) => about.type === "scores");
  if (first >= 0) return `${first}.${preferredColumn(layers[first])}`;
  return layers.length ? "p0" : "slide";
}

function preferredColumn({ names, prediction }) {
  if (!prediction || prediction.task !== "classification") return 0;
  return Math.max(0, names.indexOf(prediction.classes[prediction.predicted]));
}

/** The same score and class from other models, one per source: the start of a comparison. */
export function counterparts(layers, { layer, column }) {
  const mine = layers[layer];
  const sources = [...new Set(layers.filter((other) => other.type === "scores").map((other) => other.source))];
  return sources.filter((source) => source !== mine.source).map((source) => {
    const theirs = (other) => other.type === "scores" && other.source === source;
    const tests = [
      (other) => other.score === mine.score && other.bag === mine.bag,
      (other) => other.score === mine.score,
      () => true,
    ];
    const at = tests.map((test) => layers.findIndex((other) => theirs(other) && test(other))).find((i) => i >= 0);
    const named = layers[at].names.indexOf(mine.names[column]);
    return `${at}.${named >= 0 ? named : preferredColumn(layers[at])}`;
  });
}

/** What a further view shows: a meaningful difference, else the next score not on the screen, else the slide. */
export function nextContent(layers, contents) {
  const columns = layers.flatMap((about, layer) =>
    about.type === "picture" ? [`p${layer}`] : about.names.map((_, column) => `${layer}.${column}`));
  const maps = contents.filter((content) => parseContent(content).kind === "scores");
  const pairs = maps.flatMap((a, i) => maps.slice(i + 1).map((b) => [a, b]));
  const differences = pairs.filter(([a, b]) => comparable(layers, parseContent(a), parseContent(b))).map(([a, b]) => `${a}-${b}`);
  const others = maps.length ? counterparts(layers, parseContent(maps[0])) : [];
  return [...differences, ...others, ...columns].find((content) => !contents.includes(content)) ?? "slide";
}

/** Contents of the panes for a slide: the requested ones where they exist, else slide and heatmaps. */
export function panesFor(asked, layers) {
  const kept = asked.split(";").filter((text) => text && exists(text, layers));
  if (kept.length) return kept.slice(0, 4);
  const first = preferred(layers);
  if (layers.beside) return first === "slide" ? ["slide", "beside"] : ["slide", first, "beside"];
  if (first === "slide") return ["slide"];
  // Scores of several models are shown one per pane, and so are pictures.
  const pictures = layers.map((_, layer) => `p${layer}`).filter((text) => text !== first && exists(text, layers));
  const scores = parseContent(first).kind === "scores" ? counterparts(layers, parseContent(first)) : [];
  return ["slide", first, ...[...scores, ...pictures].slice(0, 1)];
}
