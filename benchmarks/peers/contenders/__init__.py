"""One file a contender. Each runs in the environment of its own peer and imports nothing else.

``open_model(files, options)`` returns an object with

* ``encode(image) -> (embedding, ms)``: (H, W, 3) uint8 RGB in, milliseconds of the encoder alone;
* ``decode(embedding, points) -> (masks, ms)``: xy points of the photo, one prompt each; bool masks
  of the photo's size, milliseconds of the decoder's graph alone;
* ``everything(image) -> int``: the 32 x 32 grid of clicks; how many masks it keeps;
* ``embedding_array(embedding)``: (1, 256, 64, 64) float, to check that all compute the same.
"""
