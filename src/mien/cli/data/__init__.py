"""`mien data`: prepare, clean, audit and look at a face data set. One module per group of commands."""

from __future__ import annotations

import typer

from mien.cli.data.auditing import audit, drop, relabel
from mien.cli.data.augment import augment
from mien.cli.data.cropping import crop, screen
from mien.cli.data.dedupe import dedupe
from mien.cli.data.exporting import export, split
from mien.cli.data.importing import import_
from mien.cli.data.looking import explore, info

app = typer.Typer(
    name="data",
    help="Prepare, clean, audit and look at a face data set. IN is any data set that `mien data import` reads; "
    "nothing is ever written into it.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

app.command("import")(import_)
app.command("export")(export)
app.command("split")(split)
app.command("crop")(crop)
app.command("screen")(screen)
app.command("dedupe")(dedupe)
app.command("audit")(audit)
app.command("drop")(drop)
app.command("relabel")(relabel)
app.command("explore")(explore)
app.command("info")(info)
app.command("augment")(augment)
