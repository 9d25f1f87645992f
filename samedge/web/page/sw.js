// Keeps the site for use without a network. A cache holds one version of everything, named by the
// hash of its two lists, and no file whose own hash is not the one that they name. The next version
// is fetched whole beside it, and takes its place when a page is opened: one that is open, and its
// workers, get all their files from the version that it began with, for as long as it is open.

const KEPT = "samedge-kept"; // says which cache counts, which is to come, and who began with which
const PREFIX = "samedge-site-";
const SITE = "site.json";
const BUNDLE = "bundle.json";
const RARE = /asyncify|ort\.webgpu/; // kept when they are asked for
const CLIENT = "client/";
const STARTS_IN_MS = 60_000; // until then a page that is being opened may not be listed as a client
const ISOLATION = {
  "Cross-Origin-Opener-Policy": "same-origin",
  "Cross-Origin-Embedder-Policy": "require-corp",
  "Cross-Origin-Resource-Policy": "same-origin",
};
const here = (path) => new URL(path, self.registration.scope).href;
const begun = new Map(); // by a client's id: {name, since}, of those that this worker saw begin
let refreshing = Promise.resolve(); // one refresh at a time

self.addEventListener("install", (event) => {
  event.waitUntil(refresh().then(() => self.skipWaiting()));
});

self.addEventListener("activate", (event) => {
  event.waitUntil(self.clients.claim().then(adopt));
});

self.addEventListener("fetch", (event) => {
  const { request } = event;
  if (request.method !== "GET" || !request.url.startsWith(self.registration.scope)) return;
  const version = versionFor(event);
  event.respondWith(version.then((name) => answer(request, name)));
  event.waitUntil(version.then((name) => remember(event.resultingClientId, name)));
  if (request.mode === "navigate") event.waitUntil(version.then(refresh).catch(() => {}).then(clear));
});

/** The cache that a request is answered from; a page or worker that it begins goes on with it. */
async function versionFor({ request, clientId, resultingClientId }) {
  if (request.mode === "navigate") await turn().catch(() => {});
  const own = request.mode === "navigate" ? null : await recalled(clientId);
  const name = own && (await caches.has(own)) ? own : await marked("current");
  if (resultingClientId) begun.set(resultingClientId, { name, since: Date.now() });
  return name;
}

async function recalled(id) {
  if (!id) return null;
  return begun.get(id)?.name ?? named(`${CLIENT}${id}`);
}

/** Write down which version a client began with: this worker may end before it does. */
async function remember(id, name) {
  if (id && name) await mark(name, `${CLIENT}${id}`);
}

/** Pages that were opened before this worker was there go on with the version that is kept now. */
async function adopt() {
  const name = await marked("current");
  for (const { id } of await self.clients.matchAll({ type: "all" })) {
    if (!(await recalled(id))) await remember(id, name);
  }
}

async function answer(request, name) {
  const url = new URL(request.url);
  const address = request.mode === "navigate" && url.pathname.endsWith("/") ? here("index.html") : url.origin + url.pathname;
  const cache = name && (await caches.open(name));
  const kept = await cache?.match(address);
  if (kept) return isolated(kept);
  if (!cache || !RARE.test(address)) return fetch(request);
  const { files } = await (await cache.match(here(SITE))).json();
  const path = Object.keys(files).find((one) => here(one) === address);
  await keep(cache, path, files[path]?.sha256);
  return isolated(await cache.match(address));
}

/** The headers that threads need, where the host sends none. */
function isolated(response) {
  const headers = new Headers(response.headers);
  for (const [name, value] of Object.entries(ISOLATION)) headers.set(name, value);
  return new Response(response.body, { status: response.status, statusText: response.statusText, headers });
}

/** The cache of a mark, where it has one that is there. */
async function marked(as) {
  const name = await named(as);
  return name && (await caches.has(name)) ? name : null;
}

async function named(as) {
  return (await caches.open(KEPT)).match(here(as)).then((found) => found?.text());
}

async function mark(name, as) {
  await (await caches.open(KEPT)).put(here(as), new Response(name));
}

async function unmark(as) {
  await (await caches.open(KEPT)).delete(here(as));
}

/** Let the version that waits take its place. */
async function turn() {
  const name = await marked("next");
  if (!name) return;
  await mark(name, "current");
  await unmark("next");
}

/** Fetch the site where it differs from what is kept. */
function refresh() {
  refreshing = refreshing.catch(() => {}).then(renew);
  return refreshing;
}

async function renew() {
  const lists = Object.fromEntries(await Promise.all([SITE, BUNDLE].map(async (path) => [path, await text(path)])));
  const version = await digest(new TextEncoder().encode(Object.values(lists).join("\n")));
  const name = `${PREFIX}${version.slice(0, 32)}`;
  const before = await marked("current");
  if (before === name) await unmark("next"); // what was to come was taken back
  if (before === name || (await marked("next")) === name) return;
  try {
    await fill(name, lists, before);
  } catch (error) {
    await caches.delete(name);
    throw error;
  }
  await mark(name, before ? "next" : "current");
  await clear();
  if (before) await tell("renewed");
}

/** Put all files that two lists name into a cache, one at a time: they are large. */
async function fill(name, lists, before) {
  const cache = await caches.open(name);
  const older = before && (await caches.open(before));
  for (const [path, list] of Object.entries(lists)) {
    await cache.put(here(path), new Response(list, { headers: { "Content-Type": "application/json" } }));
  }
  for (const [path, sha256] of Object.entries(hashes(lists))) await keep(cache, path, sha256, older);
}

/** The hash of every file that a page uses. */
function hashes(lists) {
  const [site, bundle] = [JSON.parse(lists[SITE]), JSON.parse(lists[BUNDLE])];
  const own = Object.entries(site.files).filter(([path]) => !RARE.test(path)).map(([path, { sha256 }]) => [path, sha256]);
  const artifacts = bundle.artifacts.flatMap(({ files }) => Object.entries(files));
  const canary = bundle.canary_sha256 ? [["canary.npz", bundle.canary_sha256]] : [];
  return Object.fromEntries([...own, ...artifacts, ...canary]);
}

/** Put a file into a cache, from an older one or from the network; one of another version is refused. */
async function keep(cache, path, sha256, older = null) {
  const kept = await older?.match(here(path));
  if (kept && (await digest(await kept.clone().arrayBuffer())) === sha256) {
    await cache.put(here(path), kept);
    return;
  }
  const integrity = `sha256-${btoa(String.fromCharCode(...sha256.match(/../g).map((pair) => parseInt(pair, 16))))}`;
  const response = await fetch(here(path), { cache: "no-cache", integrity }); // the browser looks at the hash
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  const headers = new Headers(response.headers);
  for (const packed of ["Content-Encoding", "Content-Length"]) headers.delete(packed);
  await cache.put(here(path), new Response(response.body, { headers })); // on its way: never whole in here
}

async function digest(content) {
  const found = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(found, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Drop the versions that nobody began with, and what is noted of pages that are closed. */
async function clear() {
  const alive = new Set((await self.clients.matchAll({ type: "all", includeUncontrolled: true })).map(({ id }) => id));
  const isOver = (id) => !alive.has(id) && !(Date.now() - begun.get(id)?.since < STARTS_IN_MS);
  const kept = new Set([await marked("current"), await marked("next")]);
  for (const { url } of await (await caches.open(KEPT)).keys()) {
    const path = url.slice(self.registration.scope.length);
    if (!path.startsWith(CLIENT)) continue;
    const id = path.slice(CLIENT.length);
    if (isOver(id)) await unmark(path);
    else kept.add(await named(path));
  }
  for (const [id, { name }] of begun) {
    if (isOver(id)) begun.delete(id);
    else kept.add(name);
  }
  for (const name of await caches.keys()) {
    if (name.startsWith(PREFIX) && !kept.has(name)) await caches.delete(name);
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
