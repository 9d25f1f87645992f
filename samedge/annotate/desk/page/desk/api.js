// The desk's interface: see /openapi.json.

const DESK = new URL("../api/v1/desk", import.meta.url);
export const PAGE = crypto.randomUUID?.() ?? `page-${Math.random().toString(36).slice(2)}-${Date.now()}`;

const MOST_KEPT_ALIVE = 60_000; // bytes; browsers take 64 KiB

/** The answer of the desk; errors have `status`, 0 where it does not answer. */
export async function ask(path, body = null) {
  const text = body === null ? null : JSON.stringify({ page: PAGE, ...body });
  const options = text === null ? {} : {
    method: "POST", headers: { "Content-Type": "application/json" }, body: text,
    keepalive: path.endsWith("/save") && text.length < MOST_KEPT_ALIVE, // a change arrives though the page goes away
  };
  const response = await reached(`${DESK}${path}`, options);
  return response.status === 204 ? null : response.json();
}

/** The photo's file, as the desk shows it. */
export async function picture(id) {
  return (await reached(`${DESK}/photos/${id}/picture`, {})).blob();
}

/** Give all photos back; works while the page goes away. */
export function leave() {
  navigator.sendBeacon?.(`${DESK}/leave`, JSON.stringify({ page: PAGE }));
}

async function reached(address, options) {
  const response = await fetch(address, options).catch(() => null);
  if (!response) throw Object.assign(new Error("The server does not answer: is `samedge annotate` still running?"), { status: 0 });
  if (response.ok) return response;
  const document = await response.json().catch(() => ({}));
  throw Object.assign(new Error(document.message ?? `The server answered ${response.status}.`), { status: response.status });
}
