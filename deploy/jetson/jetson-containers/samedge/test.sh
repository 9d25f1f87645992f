#!/bin/sh
# Fails unless the tensorrt backend is here and computes a small graph on the GPU.
set -eu
samedge doctor --backend tensorrt --json | python3 -c '
import json, sys
backend = json.load(sys.stdin)["backends"][0]
test = backend["selftest"]
sys.exit(0 if backend["available"] and test and test["ok"] else backend["detail"])
'
