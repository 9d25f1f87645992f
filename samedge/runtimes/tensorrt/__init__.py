"""What the ``tensorrt`` backend is made of: flavours, engine builds, the engine cache, CUDA memory.

Nothing here imports TensorRT or CUDA before it is used.
"""
