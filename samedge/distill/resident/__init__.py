"""Training with everything on the GPU: photos, masks, augmentation, prompts and losses.

For minutes on a large accelerator: photos are decoded once into its memory, and a step draws,
warps, prompts and learns without the host touching a pixel. Plain ``samedge distill`` remains the
way to train on anything smaller.
"""
