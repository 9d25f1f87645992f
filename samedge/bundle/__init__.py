"""The folder that leaves export: manifest, artifacts, hashes and canary."""
