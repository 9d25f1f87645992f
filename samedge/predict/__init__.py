"""A bundle's graphs opened, and the whole loop from an image and prompts to masks."""
