"""``samedge serve``: the page and a JSON interface, with inference here."""

from __future__ import annotations

import click

from samedge import _discovery
from samedge.cli import output
from samedge.cli.serve_options import ServerRun, serve_options

EPILOG = """\b
Examples:
  samedge serve
  samedge serve out/intel --root photos --port 8188
  SAMEDGE_TOKEN=... samedge serve --host 0.0.0.0 --allow-host labels.example
  samedge serve --port 0 --json | jq -r .address
"""


PROTOCOLS = _discovery.names("samedge.web.server.protocols")


@click.command("serve", epilog=EPILOG)
@click.argument("bundle", required=False)
@click.option("--backend", metavar="B", help="Library that runs it. [default: the best one here]")
@click.option("--device", metavar="D", help="Device of that library, such as cpu, GPU or NPU.")
@click.option(
    "--threads", type=click.IntRange(1), metavar="N", help="Processor threads of the model."
)
@serve_options
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    metavar="P",
    help=f"Answer this program only: {', '.join(PROTOCOLS)}. Repeats. [default: all]",
)
@output.standard_options
def serve(
    out: output.Output,
    *,
    run: ServerRun,
    bundle: str | None,
    backend: str | None,
    device: str | None,
    threads: int | None,
    protocols: tuple[str, ...],
) -> None:
    """Serve a bundle: images in, prompts to masks, over HTTP; without BUNDLE the embedded model.

    It listens on this machine alone unless --host says otherwise. The address is printed when it
    answers; SIGTERM and Ctrl-C finish what is in flight. /openapi.json describes the interface.
    """
    from samedge.predict.subjects import named_predictor
    from samedge.web.server.running import serve as serve_until_stopped

    settings = run.settings()
    with named_predictor(bundle, backend=backend, device=device, threads=threads) as predictor:
        predictor.load()  # before the first request, which would wait for it

        def started(address: str) -> None:
            document = {
                "address": address,
                "bundle": {"id": predictor.manifest.id, "model": predictor.manifest.model.name},
                "backend": predictor.active_backend(),
                "has_token": run.token is not None,
            }
            out.result(document, f"samedge answers at {address}")

        serve_until_stopped(predictor, settings, protocols=protocols or None, on_start=started)


COMMAND = serve
