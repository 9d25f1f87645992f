// The worker that computes, off the page's thread. The library begins at once, beside the code for all else.

import { beginRuntime, placeFor } from "./runtime.js";

const computing = import("./computing.js");
computing.catch((error) => setTimeout(() => {
  throw error; // the page hears of it
}));
let begun = null; // a promise of where it is computed: {device, threads}; rejected where the library cannot be had

self.onmessage = ({ data }) => {
  if (data.method === "prepare") {
    begun = begin(data);
    begun.catch(() => {}); // opening says why
  } else computing.then(({ answer }) => answer(data, begun), () => {});
};

async function begin(wish) {
  const place = await placeFor(wish);
  if (place.device === "wasm") await beginRuntime(place.device, place.threads);
  return place;
}
