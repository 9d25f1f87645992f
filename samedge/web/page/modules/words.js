// The words that a bundle knows, and what a text asks of them; the counterpart of
// samedge/bundle/words.py and of the names in samedge/predict/words/phrases.py. No text encoder is
// run here, so that phrases are not read.

import { readNpz } from "./npz.js";

const MOST_WORDS = 64; // of one search
const LONGEST = 200; // characters of one name
const SHOWN = 5;
const LIKE = 0.4; // nearest names share so much of their letter pairs, at least
const DETERMINERS = new Set(["a", "an", "the", "some", "any", "all", "every", "each", "this", "that", "these", "those"]);
const IRREGULAR = {
  people: "person", men: "man", women: "woman", children: "child", mice: "mouse", geese: "goose",
  oxen: "ox", feet: "foot", teeth: "tooth", wolves: "wolf", loaves: "loaf",
};

/** What was asked is not understood; the message says what is. */
export class WordError extends Error {
  constructor(message) {
    super(message);
    this.name = "WordError";
  }
}

/** Words with one row of numbers each. */
export class WordTable {
  /** @param {{words: object[], embeddings: Float32Array, width: number}} content - of words.npz. */
  constructor({ words, embeddings, width }) {
    this.words = words;
    this.embeddings = embeddings;
    this.width = width;
    this.rows = new Map();
    words.forEach((word, row) => {
      if (word.is_askable === false) return;
      for (const name of [word.name, ...(word.synonyms ?? [])]) this.rows.set(normalised(name), row);
    });
    this.joined = new Map([...this.rows].map(([name, row]) => [name.replaceAll(" ", ""), row]));
  }

  /** @param {ArrayBuffer} content - of words.npz. */
  static async read(content) {
    const { words, embeddings } = await readNpz(content, "words.npz");
    const list = JSON.parse(new TextDecoder().decode(words.data));
    const [count, width] = embeddings.shape;
    if (count !== list.length) throw new Error("The bundle's table of words is damaged: export the bundle again.");
    return new WordTable({ words: list, embeddings: embeddings.data, width });
  }

  /** Names that may be asked for. */
  get names() {
    return this.words.filter(isAnswered).map(({ name }) => name);
  }

  /**
   * Read what is asked for: names with commas between them, each thing once.
   *
   * @param {string} text
   * @returns {{asked: string, word: string, row: number}[]}
   * @throws {WordError} nothing is asked, or a word is unknown or off.
   */
  asked(text) {
    const parts = text.split(",").map((part) => part.trim()).filter(Boolean);
    if (!parts.length) throw new WordError("Write the name of a thing first.");
    if (parts.length > MOST_WORDS) throw new WordError(`${parts.length} words were asked for, expected at most ${MOST_WORDS}.`);
    const found = new Map();
    for (const part of parts) {
      const row = this.#known(part);
      if (!found.has(row)) found.set(row, { asked: part, word: this.words[row].name, row });
    }
    return [...found.values()];
  }

  #known(text) {
    if (text.length > LONGEST) throw new WordError(`A name has ${text.length} characters, expected at most ${LONGEST}.`);
    const name = normalised(text);
    if (!name) throw new WordError(`'${text}' names nothing: give the name of a thing.`);
    const row = this.row(name);
    if (row === null) throw this.#unknown(text, name);
    const { off } = this.words[row];
    if (off) throw new WordError(`'${this.words[row].name}' is known and off in this model: ${off}.`);
    return row;
  }

  /** The row of a normalised name, its plural or its spelling as one word; null where there is none. */
  row(name) {
    for (const single of singulars(name)) {
      const found = this.rows.get(single) ?? this.joined.get(single.replaceAll(" ", ""));
      if (found !== undefined) return found;
    }
    return null;
  }

  #unknown(text, name) {
    const things = this.#thingsIn(name.split(" "));
    if (things.length) {
      return new WordError(`'${text}' is not understood: of it ${listed(things)} is. Ask for names of things alone, such as ${listed(things.slice(-1))}.`);
    }
    const near = this.nearest(name);
    const hint = near.length ? `The nearest known ones are ${listed(near)}.` : "No known one is near.";
    return new WordError(`This model does not know '${text}'. ${hint} It knows ${this.names.length} words.`);
  }

  /** Names of the known things in a phrase, longest spans first. */
  #thingsIn(tokens) {
    const found = new Set();
    for (let start = 0; start < tokens.length; start++) {
      for (let stop = tokens.length; stop > start; stop--) {
        const row = this.row(tokens.slice(start, stop).join(" "));
        if (row === null) continue;
        found.add(this.words[row].name);
        start = stop - 1;
        break;
      }
    }
    return [...found];
  }

  /** Known words that an unknown one shares most letter pairs with. */
  nearest(name) {
    const ranked = new Map();
    for (const [known, row] of this.rows) {
      const word = this.words[row];
      if (isAnswered(word)) ranked.set(word.name, Math.max(ranked.get(word.name) ?? 0, likeness(name, known)));
    }
    return [...ranked].filter(([, like]) => like >= LIKE).sort((a, b) => b[1] - a[1]).slice(0, SHOWN).map(([word]) => word);
  }

  /**
   * Log-odds of a word against the background words, for every region.
   *
   * @param {Float32Array[]} regions - embeddings of them.
   * @param {number} row - of the word.
   * @returns {number[]}
   */
  margins(regions, row) {
    const others = this.words.flatMap((word, index) => (index !== row && word.is_background !== false ? [index] : []));
    return regions.map((region) => this.#product(region, row) - logSumExp(others.map((other) => this.#product(region, other))));
  }

  #product(region, row) {
    let sum = 0;
    for (let i = 0, from = row * this.width; i < this.width; i++) sum += region[i] * this.embeddings[from + i];
    return sum;
  }
}

function isAnswered(word) {
  return word.is_askable !== false && !word.off;
}

function logSumExp(values) {
  if (!values.length) return -100;
  const top = Math.max(...values);
  return top + Math.log(values.reduce((sum, value) => sum + Math.exp(value - top), 0));
}

/** A name without capitals, articles and punctuation. */
export function normalised(text) {
  const plain = text.normalize("NFKC").toLowerCase().replaceAll("ß", "ss").replaceAll("'s ", " ").replaceAll("_", " ");
  const tokens = plain.match(/[\p{L}\p{N}]+/gu) ?? [];
  while (tokens.length > 1 && DETERMINERS.has(tokens[0])) tokens.shift();
  return tokens.join(" ");
}

/** What a name may be the plural of, the name itself first. */
function* singulars(name) {
  yield name;
  const at = name.lastIndexOf(" ") + 1;
  const [before, noun] = [name.slice(0, at), name.slice(at)];
  if (Object.hasOwn(IRREGULAR, noun)) yield before + IRREGULAR[noun];
  const cut = (ending, ...instead) => (noun.length > 3 && noun.endsWith(ending) ? instead.map((end) => before + noun.slice(0, -ending.length) + end) : []);
  yield* cut("ves", "f", "fe");
  yield* cut("ies", "y");
  yield* cut("es", "");
  if (noun.length > 2 && noun.endsWith("s")) yield before + noun.slice(0, -1);
  yield `${before}${noun}s`; // of those that have no singular: scissors, skis
}

/** Share of the letter pairs that two names have in common (Dice). */
function likeness(a, b) {
  const [first, second] = [pairs(a), pairs(b)];
  const left = [...second];
  let common = 0;
  for (const pair of first) {
    const at = left.indexOf(pair);
    if (at < 0) continue;
    left.splice(at, 1);
    common++;
  }
  return (2 * common) / (first.length + second.length);
}

function pairs(name) {
  const padded = ` ${name} `;
  return Array.from({ length: padded.length - 1 }, (_, at) => padded.slice(at, at + 2));
}

function listed(names) {
  return names.map((name) => `'${name}'`).join(", ");
}
