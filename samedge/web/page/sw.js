// Keeps the site for use without a network. A cache holds one version of everything, named by the
// hash of its two lists; the next version is fetched whole beside it, and takes its place when a
// page is opened: one that is open gets all its files from the version that it began with.

const KEPT = "samedge-kept"; // says which cache counts, and which is to come
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
  const turned = request.mode === "navigate" ? turn().catch(() => {}) : Promise.resolve();
  if (request.mode === "navigate") event.waitUntil(turned.then(refresh).catch(() => {}));
  event.respondWith(turned.then(() => answer(request)));
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
  const name = await marked("current");
  return name ? caches.open(name) : null;
}

/** The cache of a mark, where it has one that is there. */
async function marked(mark) {
  const name = await (await caches.open(KEPT)).match(here(mark)).then((found) => found?.text());
  return name && (await caches.has(name)) ? name : null;
}

async function mark(name, as) {
  await (await caches.open(KEPT)).put(here(as), new Response(name));
}

/** Let the version that waits take its place. */
async function turn() {
  const name = await marked("next");
  if (!name) return;
  await mark(name, "current");
  await (await caches.open(KEPT)).delete(here("next"));
  await clear([name]);
}

/** Fetch the site where it differs from what is kept. */
async function refresh() {
  const lists = await Promise.all(LISTS.map((path) => text(path)));
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(lists.join("\n")));
  const version = Array.from(new Uint8Array(digest), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const name = `${PREFIX}${version.slice(0, 32)}`;
  const before = await marked("current");
  if (before === name) return;
  const [site, bundle] = lists.map((list) => JSON.parse(list));
  const files = [...LISTS, ...Object.keys(site.files).filter((path) => !RARE.test(path)),
    ...bundle.artifacts.flatMap((artifact) => Object.keys(artifact.files)), ...(bundle.canary_sha256 ? ["canary.npz"] : [])];
  const cache = await caches.open(name);
  for (const path of files) await cache.add(new Request(here(path), { cache: "no-cache" })); // one at a time: they are large
  await mark(name, before ? "next" : "current");
  await clear([before, name]);
  if (before) await tell("renewed");
}

async function clear(kept) {
  for (const name of await caches.keys()) {
    if (name.startsWith(PREFIX) && !kept.includes(name)) await caches.delete(name);
  }
}

/** Open pages came from the version before. */
async function tell(message) {
  const pages = await self.clients.matchAll({ type: "window", includeUncontrolled: true });
  for (const page of pages) page.postMessage(message);
}

async function text(path) {
  const response = await fetch(here(path), { cache: "no-store" });
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  return response.text();
}
