"""What samedge is made of: known weaknesses, licences, and a bill of materials for a release.

    python tools/supply_chain.py audit      # pip-audit over requirements/ci.txt
    python tools/supply_chain.py licences   # pip-licenses over what is installed
    python tools/supply_chain.py sbom       # CycloneDX of requirements/ci.txt to dist/

Run by ``make audit`` and ``make release``, which install the tools. The audit asks a service; where
that does not answer, it says so and ends well, since nothing was found.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
LOCK = REPOSITORY / "requirements" / "ci.txt"
REFUSED = ("Affero", "AGPL", "GPL-3", "GPLv3", "General Public License v3", "SSPL")
"""Licences that a device's maker could not ship beside Apache-2.0 without opening everything."""

_UNREACHABLE = ("Connection", "Max retries", "timed out", "Name or service", "HTTP", "SSL", "Proxy")


def audit() -> int:
    """Look for known weaknesses of the locked versions; 1 where there are some."""
    done = _run("pip_audit", "-r", str(LOCK), "--disable-pip", "--no-deps", "-f", "json")
    try:
        found = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        if any(word in done.stderr for word in _UNREACHABLE):
            print(f"Not audited: the service does not answer ({last}).")
            return 0
        print(f"pip-audit failed: {last}", file=sys.stderr)
        return 2
    weak = [package for package in found if package.get("vulns")]
    for package in weak:
        for one in package["vulns"]:
            fixed = ", ".join(one.get("fix_versions", [])) or "no version yet"
            print(f"{package['name']} {package['version']}: {one['id']}, mended in {fixed}")
    print(f"{len(found)} packages audited, {len(weak)} with known weaknesses")
    return 1 if weak else 0


def is_refused(licence: str) -> bool:
    """Whether a licence is among ``REFUSED``; the lesser GPL lets other licences beside it."""
    full = licence.replace("Lesser General Public License", "").replace("LGPL", "")
    return any(word in full for word in REFUSED)


def licences() -> int:
    """Write what is installed, with its licences; 1 where one is refused."""
    done = _run("piplicenses", "--format=csv", "--with-urls", "--from=mixed")
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return 2
    path = REPOSITORY / "build" / "licences.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(done.stdout, encoding="utf-8")
    rows = done.stdout.splitlines()[1:]
    refused = [row for row in rows if is_refused(row)]
    print(*refused, f"{len(rows)} packages, licences in {path}; {len(refused)} refused", sep="\n")
    return 1 if refused else 0


def sbom() -> int:
    """Write a CycloneDX document of the locked environment beside the wheel."""
    path = REPOSITORY / "dist" / "samedge.cdx.json"
    path.parent.mkdir(exist_ok=True)
    arguments = ("--pyproject", str(REPOSITORY / "pyproject.toml"), "--output-reproducible")
    done = _run("cyclonedx_py", "requirements", str(LOCK), *arguments, "-o", str(path))
    print(done.stderr.strip() if done.returncode else f"wrote {path}")
    return done.returncode


def _run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", module, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def main() -> int:
    """Do one of the three."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    jobs = {"audit": audit, "licences": licences, "sbom": sbom}
    parser.add_argument("job", choices=sorted(jobs))
    return jobs[parser.parse_args().job]()


if __name__ == "__main__":
    sys.exit(main())
