// The filter above the list of slides: words, and conditions on fields.
//   tumour pred:lesion p>0.9 wrong site:2 status:failed -disagree "two words" seconds<30

const TERM = /(-?)(?:([\p{L}_][\p{L}\p{N}_.-]*)\s*(<=|>=|=|<|>|:)\s*)?(?:"([^"]*)"|(\S+))/gu;

/** Whether any of the runs is wrong on a slide. */
export const isWrong = (slide) => slide.wrong === true || Boolean(slide.answers?.some(({ wrong }) => wrong));

const FLAGS = {
  wrong: isWrong,
  right: (slide) => slide.wrong === false && !isWrong(slide),
  failed: (slide) => slide.status === "failed",
  notice: (slide) => Boolean(slide.notices),
  disagree: (slide) => slide.disagree === true,
};
const FIELDS = {
  name: (slide) => slide.name,
  slide: (slide) => slide.name,
  pred: (slide) => slide.prediction,
  prediction: (slide) => slide.prediction,
  label: (slide) => slide.label,
  p: (slide) => slide.probability ?? slide.number,
  probability: (slide) => slide.probability,
  status: (slide) => slide.status,
  faithful: (slide) => slide.verdict,
  verdict: (slide) => slide.review ?? "",
  notes: (slide) => slide.notices,
};

/** The field of this name, ignoring case and blanks; also finds the list's own columns. */
function fieldOf(name, columns) {
  const plain = name.trim().toLowerCase();
  if (FIELDS[plain]) return FIELDS[plain];
  const column = columns.find((other) => other.toLowerCase() === plain);
  return column === undefined ? null : (slide) => slide.cells[column] ?? "";
}

/** @returns {function(object, string): boolean} takes a slide and its text in lower case */
export function parseFilter(text, columns = []) {
  const tests = [];
  for (const [whole, minus, name, by, quoted, word] of text.matchAll(TERM)) {
    const field = name && fieldOf(name, columns);
    let test;
    if (field) test = condition(field, by, quoted ?? word);
    else if (!name && quoted === undefined && FLAGS[word.toLowerCase()]) test = FLAGS[word.toLowerCase()];
    else {
      const wanted = (quoted ?? whole.slice(minus.length)).toLowerCase();
      test = (_slide, all) => all.includes(wanted);
    }
    tests.push(minus ? (slide, all) => !test(slide, all) : test);
  }
  return (slide, all) => tests.every((test) => test(slide, all));
}

function condition(field, by, wanted) {
  const number = Number(wanted.replace(/%$/, "")) / (wanted.endsWith("%") ? 100 : 1);
  if (by === ":") return (slide) => String(field(slide) ?? "").toLowerCase().includes(wanted.toLowerCase());
  const compare = { "<": (a) => a < number, ">": (a) => a > number, "<=": (a) => a <= number, ">=": (a) => a >= number };
  if (by === "=") return (slide) => String(field(slide) ?? "").toLowerCase() === wanted.toLowerCase() || (field(slide) !== "" && Number(field(slide)) === number);
  return (slide) => {
    const value = field(slide);
    return value !== "" && value !== null && value !== undefined && compare[by](Number(value));
  };
}
