// NumPy's archives of arrays: a zip of .npy files, stored or deflated.

const END = 0x06054b50;
const ENTRY = 0x02014b50;
const DEFLATED = 8;
const READERS = {
  "|u1": (buffer) => new Uint8Array(buffer),
  "<f2": (buffer) => Float32Array.from(new Uint16Array(buffer), floatFromHalf),
  "<f4": (buffer) => new Float32Array(buffer),
  "<f8": (buffer) => new Float64Array(buffer),
};

/**
 * @param {ArrayBuffer} content - of an .npz file.
 * @param {string} name - of it, for messages.
 * @returns {Promise<Record<string, {data: ArrayLike<number>, shape: number[]}>>}
 * @throws {Error} it is damaged.
 */
export async function readNpz(content, name = "canary.npz") {
  const view = new DataView(content);
  let end = content.byteLength - 22;
  while (end >= 0 && view.getUint32(end, true) !== END) end--;
  if (end < 0) throw new Error(`${name} is damaged: fetch or export the bundle again.`);
  const found = {};
  let at = view.getUint32(end + 16, true);
  for (let left = view.getUint16(end + 10, true); left > 0; left--) {
    if (view.getUint32(at, true) !== ENTRY) throw new Error(`${name} is damaged: export the bundle again.`);
    const nameLength = view.getUint16(at + 28, true);
    const member = new TextDecoder().decode(new Uint8Array(content, at + 46, nameLength));
    found[member.replace(/\.npy$/, "")] = array(await unpacked(content, view, at));
    at += 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  }
  return found;
}

async function unpacked(content, view, entry) {
  const local = view.getUint32(entry + 42, true);
  const start = local + 30 + view.getUint16(local + 26, true) + view.getUint16(local + 28, true);
  const packed = new Uint8Array(content, start, view.getUint32(entry + 20, true));
  if (view.getUint16(entry + 10, true) !== DEFLATED) return packed.slice().buffer;
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).arrayBuffer();
}

function array(buffer) {
  const view = new DataView(buffer);
  const isLong = view.getUint8(6) > 1;
  const length = isLong ? view.getUint32(8, true) : view.getUint16(8, true);
  const start = isLong ? 12 : 10;
  const header = new TextDecoder("latin1").decode(new Uint8Array(buffer, start, length));
  const kind = /'descr': '([^']+)'/.exec(header)[1];
  const shape = /'shape': \(([^)]*)\)/.exec(header)[1].split(",").filter((n) => n.trim()).map(Number);
  if (!READERS[kind]) throw new Error(`canary.npz holds numbers of type ${kind}: export the bundle again.`);
  return { data: READERS[kind](buffer.slice(start + length)), shape };
}

function floatFromHalf(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * 2 ** -14 * (fraction / 1024);
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * 2 ** (exponent - 15) * (1 + fraction / 1024);
}
