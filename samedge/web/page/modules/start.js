// What a page begins with, before its other modules are here: its settings, and the worker that computes.

const query = new URLSearchParams(location.search);
let first = null; // the worker that was begun with the page, until it is taken

/** What the address asks for; null leaves it to the worker. */
export const wish = { device: query.get("device"), threads: Number(query.get("threads")) || null };

/** A promise of what config.json says. */
export const config = json("config.json");

export async function json(path) {
  const response = await fetch(path).catch(() => null);
  if (!response?.ok) throw new Error(`${path} cannot be loaded: check the connection and reload the page.`);
  return response.json();
}

/** A worker that computes, or is about to: the one that was begun with the page, if nobody has it yet. */
export function takeWorker(device, threads) {
  const worker = first ?? begun({ device, threads });
  first = null;
  return worker;
}

/** A worker that begins with what needs no bundle. */
function begun({ device, threads }) {
  const worker = new Worker(new URL("./engine-worker.js", import.meta.url), { type: "module", name: "samedge" });
  worker.postMessage({ method: "prepare", device, threads });
  return worker;
}

config.then(({ engine }) => {
  if (engine !== "local") return;
  first = begun(wish);
  first.onerror = () => (first = null); // the next one is tried, and heard
}, () => {}); // the page says why
