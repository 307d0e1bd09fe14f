"""The command line. `./run CMD` and `tillgate CMD` are the same."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import rich_click as click
from click.exceptions import Exit

from contracts.errors import Findings, TillgateError
from gateway.cli.settings import Settings, reference_estate


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120})
@click.option(
    "--estate",
    type=click.Path(path_type=Path),
    envvar="TILLGATE_ESTATE",
    default=None,
    help="Folder of the estate (estate.toml, contracts/systems, mappings). Default: here, else the reference estate.",
)
@click.option("--data", type=click.Path(path_type=Path), envvar="TILLGATE_DATA", default=Path("var"), help="Folder for books and traces.")
@click.pass_context
def cli(context: click.Context, estate: Path | None, data: Path) -> None:
    """One canonical API in front of every till and back office."""
    here = Path()
    context.obj = Settings(estate=estate or (here if (here / "estate.toml").is_file() else reference_estate()), data=data)


def main(arguments: Sequence[str] | None = None) -> None:
    """Entry point; without `arguments` those of the process. Mistakes of people are sentences, not stack traces."""
    gc.disable()  # what is imported stays: looking through it again and again would be a tenth of the time until a command begins
    from gateway.cli import (
        causes,
        checking,
        clients,
        connecting,
        files,
        impact,
        mapping,
        operating,
        proving,
        publishing,
        reading,
        recording,
        serving,
        tour,
        versions,
        webhooks,
        why,
    )

    modules = (
        serving,
        tour,
        checking,
        connecting,
        mapping,
        impact,
        clients,
        versions,
        webhooks,
        files,
        reading,
        operating,
        why,
        recording,
        proving,
        publishing,
        causes,
    )
    gc.freeze()
    gc.enable()
    for module in modules:
        for command in module.COMMANDS:
            cli.add_command(command)
    try:
        cli(arguments, standalone_mode=False)
    except Exit as exc:
        sys.exit(exc.exit_code)
    except click.ClickException as exc:
        exc.show()
        sys.exit(exc.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(130)
    except Findings as exc:
        for finding in exc.findings:
            click.echo(str(finding), err=True)
        click.secho(f"{len(exc.findings)} finding{'s' if len(exc.findings) != 1 else ''}", fg="red", err=True)
        sys.exit(1)
    except (TillgateError, LookupError) as exc:
        click.secho(str(exc.args[0] if isinstance(exc, LookupError) else exc), fg="red", err=True)
        sys.exit(1)
    except BrokenPipeError:  # whoever read along has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as exc:
        click.secho(f"{exc.filename or 'the system'}: {exc.strerror or exc}", fg="red", err=True)
        sys.exit(1)
