"""kill -9 at random moments of a loop that writes: the old file or the new one, nothing piles up.

The control writes the same files plainly, and shows that such kills do tear them.
"""

from __future__ import annotations

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from samedge.files.writing import MARK, write_bytes

pytestmark = pytest.mark.slow

KILLS = 20
SIZE = 20_000_000

_LOOP = """
import sys
from pathlib import Path
from samedge.files.writing import write_bytes
path, contents = Path(sys.argv[1]), [bytes([letter]) * {size} for letter in b"AB"]
write = {write}
write(path, contents[0])
print("go", flush=True)
while True:
    for content in contents:
        write(path, content)
"""


def killed(path: Path, write: str, *, after_s: float) -> None:
    code = _LOOP.format(size=SIZE, write=write)
    arguments = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"go\n"
        time.sleep(after_s)
        process.kill()


def is_whole(path: Path) -> bool:
    content = path.read_bytes()
    return len(content) == SIZE and len(set(content[:: 1 << 16])) == 1


def test_what_is_left_after_kills(tmp_path: Path) -> None:
    rnd = random.Random(5)
    path = tmp_path / "x"
    most = 0
    for _ in range(KILLS):
        killed(path, "write_bytes", after_s=rnd.uniform(0.0, 0.3))
        assert is_whole(path)
        most = max(most, sum(entry.name.startswith(MARK) for entry in tmp_path.iterdir()))
    assert most <= 1  # every writer removed what the killed one before it left
    write_bytes(path, b"A" * SIZE)
    assert [entry.name for entry in tmp_path.iterdir()] == ["x"]


def test_the_control_tears_files(tmp_path: Path) -> None:
    rnd = random.Random(5)
    torn = 0
    for _ in range(KILLS):
        killed(tmp_path / "x", "Path.write_bytes", after_s=rnd.uniform(0.0, 0.3))
        torn += not is_whole(tmp_path / "x")
    assert torn > 0
