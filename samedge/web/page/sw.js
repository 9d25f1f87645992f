// Keeps the site for use without a network. A cache holds one version of everything, named by the
// hash of its two lists; the next version is fetched whole beside it before it takes its place.

const KEPT = "samedge-kept"; // says which cache counts
const PREFIX = "samedge-site-";
const LISTS = ["site.json", "bundle.json"];
const RARE = /asyncify|ort\.webgpu/; // kept when they are asked for
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
const here = (path) => new URL(path, self.registration.scope).href;

self.addEventListener("install", (event) => {
  event.waitUntil(refresh().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(self.clients.claim());
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(self.registration.scope)) return;
  if (request.mode === "navigate") event.waitUntil(refresh().catch(() => {}));
  event.respondWith(answer(request));
});

async function answer(request) {
  const url = new URL(request.url);
  const address = request.mode === "navigate" && url.pathname.endsWith("/") ? here("index.html") : url.origin + url.pathname;
  const cache = await current();
  const kept = await cache?.match(address);
  if (kept) return isolated(kept);
  const response = await fetch(request);
  if (cache && response.ok && RARE.test(address)) await cache.put(address, response.clone());
  return response;
}

/** The headers that threads need, where the host sends none. */
function isolated(response) {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATION)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

async function current() {
  const name = await (await caches.open(KEPT)).match(here("current")).then((found) => found?.text());
  return name && (await caches.has(name)) ? caches.open(name) : null;
}

/** Fetch the site where it differs from what is kept. */
async function refresh() {
  const lists = await Promise.all(LISTS.map((path) => text(path)));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(lists.join("\n")));
  const version = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const name = `${PREFIX}${version.slice(0, 32)}`;
  const mark = await caches.open(KEPT);
  if ((await mark.match(here("current")).then((found) => found?.text())) === name && (await caches.has(name))) return;
  const [site, bundle] = lists.map((list) => JSON.parse(list));
  const files = [...LISTS, ...Object.keys(site.files).filter((path) => !RARE.test(path)),
    ...bundle.artifacts.flatMap((artifact) => Object.keys(artifact.files)), ...(bundle.canary_sha256 ? ["canary.npz"] : [])];
  const cache = await caches.open(name);
  for (const path of files) await cache.add(new Request(here(path), { cache: "no-cache" })); // one at a time: they are large
  await mark.put(here("current"), new Response(name));
  for (const other of await caches.keys()) {
    if (other.startsWith(PREFIX) && other !== name) await caches.delete(other);
  }
}

async function text(path) {
  const response = await fetch(here(path), { cache: "no-store" });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.text();
}
