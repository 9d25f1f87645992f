"""``samedge web``: the page of a bundle on loopback."""

from __future__ import annotations

from pathlib import Path

import click

from samedge.cli import output

EPILOG = """\b
Examples:
  samedge export --target web && samedge web out/web
  samedge web out/web --port 8000 --open
"""


@click.command("web", epilog=EPILOG)
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--port",
    type=click.IntRange(0, 65535),
    default=8080,
    show_default=True,
    metavar="PORT",
    help="Of 127.0.0.1; 0 takes a free one.",
)
@click.option("--open", "opens", is_flag=True, help="Open the page in the browser.")
@output.standard_options
def web(out: output.Output, *, bundle: Path, port: int, opens: bool) -> None:
    """Serve the page of BUNDLE, made with `samedge export --target web`, on this machine alone.

    Photos stay in the browser, which computes everything. Ctrl-C ends it. Any other host can serve
    the same folder; threads need its two headers, which docs/web.md names.
    """
    from samedge.bundle.bundle import Bundle, bundle_path
    from samedge.web.site import check_site, site_files
    from samedge.web.static import serving

    opened = Bundle.open(bundle_path(str(bundle)))
    check_site(opened)
    with serving(site_files(opened), port=port) as server:
        size_bytes = sum(path.stat().st_size for path in site_files(opened).values())
        document = {
            "bundle": {"path": str(bundle), "id": opened.id},
            "address": server.address,
            "site_bytes": size_bytes,
        }
        out.result(document, f"{opened.manifest.model.name} at {server.address}, Ctrl-C ends it")
        if opens:
            click.launch(server.address)
        server.wait()


COMMAND = web
