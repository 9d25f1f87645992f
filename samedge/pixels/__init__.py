"""Pictures, frames, prompts and masks as arrays: what needs NumPy and Pillow alone."""
