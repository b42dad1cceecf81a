"""`mien export`: what mien recognises with, in forms for other places."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from mien.cli.model_options import Balance, ModelArgument, OneModel, Prior
from mien.cli.output_options import DataOption, Force, Quiet, TableOrJson, out_option, print_table
from mien.suggestions import did_you_mean

if TYPE_CHECKING:
    from mien.exporting.export import Export


class _ModelFirst(TyperGroup):
    """A group whose first word may be a model: `mien export mien-small ...` is `mien export model mien-small ...`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in {*self.commands, *ctx.help_option_names} and not self._is_misspelt(args[0]):
            args = ["model", *args]
        return super().parse_args(ctx, args)

    def _is_misspelt(self, word: str) -> bool:
        return bool(did_you_mean(word, self.commands)) and not Path(word).exists()


app = typer.Typer(
    name="export",
    cls=_ModelFirst,
    help="Write what mien recognises with in forms for other places: `mien export MODEL --as FORMAT`, "
    "`mien export web --out DIR`.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


_As = Annotated[str, typer.Option("--as", metavar="FORMAT", help="onnx, onnx-fp16, onnx-int8, openvino or ncnn.")]
_Out = Annotated[Path | None, out_option("[default: the model's name with the format's ending]", "FILE|DIR")]
_Check = Annotated[bool, typer.Option(help="Compare the export with its source, and keep it only if it agrees.")]
_AcceptLoss = Annotated[
    float, typer.Option(metavar="POINTS", min=0, help="Points of accuracy that onnx-int8 may lose.")
]
_OnnxruntimeWeb = Annotated[
    Path | None,
    typer.Option(metavar="DIR|FILE.tgz", help="A copy of onnxruntime-web; without it npm fetches the right one."),
]

_Details = Annotated[
    bool, typer.Option("--details", help="Head pose, gaze, eyes, mouth and 52 blendshapes, too; 3.7 MB more.")
]


@app.command("model")
def model_(
    model: ModelArgument,
    as_: _As = "",
    out: _Out = None,
    data: DataOption = None,
    balance: Balance = None,
    prior: Prior = None,
    check: _Check = True,
    accept_loss: _AcceptLoss = 0.5,
    force: Force = False,
    format_: TableOrJson = "table",
    quiet: Quiet = False,
) -> None:
    """Write a model file in another form. The word `model` can be left out.

    onnx: weights in float32. onnx-fp16: half the size. onnx-int8: whole numbers of 8 bits, fitted to --data. These
    three are model files: `mien predict -m` takes them. openvino and ncnn: a folder for that runtime, and labels.json.

    Each is run beside its source on the validation faces of --data, or on 512 drawn ones, and kept only where the
    probabilities agree; onnx-int8 where it loses no more than 0.5 points of accuracy. The balance is put
    into the graph.

    Examples:

    - `mien export mien-small --as onnx`, in full `mien export model mien-small --as onnx`
    - `mien export mien-small --as onnx-int8 --data fer2013/ --out small-int8.onnx`
    - `mien export own.onnx --as openvino --data faces/ --format json`
    """
    from mien.exporting.export import export

    made = export(
        model, as_, out, data=data, balance=balance, prior=prior, check=check, accept_loss=accept_loss, force=force,
    )  # fmt: skip
    if format_ == "json":
        import json

        typer.echo(json.dumps(made.to_dict(), indent=1))
    elif not quiet:
        _print(made)


def _print(made: Export) -> None:
    parity = made.parity
    if parity is not None:
        rows = [
            ("MB", f"{made.source_bytes / 1e6:.2f}", f"{made.bytes / 1e6:.2f}"),
            ("faces a second", f"{parity.source_faces_s:,.0f}", f"{parity.export_faces_s:,.0f}"),
        ]
        if parity.accuracy_before is not None and parity.accuracy_after is not None:
            right = f"accuracy ({parity.truth}, n = {parity.n})"
            rows.insert(0, (right, f"{parity.accuracy_before:.4f}", f"{parity.accuracy_after:.4f}"))
        print_table((parity.shown, made.model, made.form), rows)
        typer.echo(
            f"probabilities of {parity.faces} faces: at most {parity.largest:.2g} apart, {parity.mean:.2g} on average; "
            f"the same label for {100 * parity.same_label:.2f} %"
        )
        ratio = parity.speed_up
        verdict = f"{ratio:.2f} times as fast" if ratio >= 1 else f"slower: {ratio:.2f} times the faces a second"
        typer.echo(f"{verdict}, on this processor")
    typer.echo(f"{made.path}{f' ({made.how})' if made.how else ''}")


@app.command("web")
def web(
    out: Annotated[Path, out_option("The folder to write.", "DIR")],
    model: OneModel = "mien-nano",
    balance: Balance = None,
    prior: Prior = None,
    details: _Details = False,
    onnxruntime_web: _OnnxruntimeWeb = None,
    force: Force = False,
    format_: TableOrJson = "table",
    quiet: Quiet = False,
) -> None:
    """Write the page as a static folder that recognises images and camera in the browser alone.

    Any web host can serve it; after the first visit it works without a network. npm must be installed, or a copy of
    onnxruntime-web at hand.

    Examples:

    - `mien export web --out site/`, then `python -m http.server --directory site` and http://localhost:8000
    - `mien export web --out site/ --model mien-small --details --force`
    - `mien serve --on-device site/`
    """
    from mien.exporting.web import export_web

    export = export_web(
        out, model=model, balance=balance, prior=prior, details=details, onnxruntime_web=onnxruntime_web, force=force
    )
    if format_ == "json":
        import json

        typer.echo(json.dumps(export.to_dict(), indent=1))
    elif not quiet:
        typer.echo(f"{out}: {len(export.files)} files, {export.bytes / 1e6:.1f} MB, with {export.model}")
        typer.echo(f"Try it:  python -m http.server --bind 127.0.0.1 --directory {out}")
