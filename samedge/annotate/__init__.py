"""The data engine: masks for a folder of images, by the model alone or together with people."""
