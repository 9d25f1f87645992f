// Keeps the site for use without a network, when nobody is kept waiting by it: every file is fetched and hashed once
// more, and takes the processor's time from the photo that is being read.

const QUIET_MS = 5000; // since somebody did something
const LATEST_MS = 60_000; // since the page could compute
const LOOK_MS = 500;
const DEEDS = ["pointerdown", "keydown", "drop", "paste", "change"];

/** Begin when the page has been left alone for a while; a page that cannot be kept is none the worse. */
export function keepWhenQuiet() {
  if (!navigator.serviceWorker) return;
  const start = performance.now();
  let last = start;
  const heard = () => (last = performance.now());
  for (const deed of DEEDS) addEventListener(deed, heard, { capture: true, passive: true });
  const timer = setInterval(() => {
    const now = performance.now();
    if (now - last < QUIET_MS && now - start < LATEST_MS) return;
    clearInterval(timer);
    for (const deed of DEEDS) removeEventListener(deed, heard, { capture: true });
    navigator.serviceWorker.register("sw.js").catch((error) => console.info(error));
  }, LOOK_MS);
}
