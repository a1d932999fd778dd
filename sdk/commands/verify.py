"""fiqa verify: prove a model file on this device."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from sdk.commands.console import FAILED, error_exits, print_plain
from sdk.commands.options import DeviceOption, FacesOption, PrecisionOption, TrustOption, complete_model
from sdk.text import count

if TYPE_CHECKING:
    from sdk.proof.verify import Proof

File = Annotated[str, typer.Argument(help="Model file to prove.", autocompletion=complete_model)]
Against = Annotated[Path | None, typer.Option(help="The fp32 .onnx file that the model file was made from.")]


def verify(
    file: File,
    against: Against = None,
    faces: FacesOption = None,
    device: DeviceOption = "auto",
    precision: PrecisionOption = None,
    trust: TrustOption = False,
) -> None:
    """Run a model file on this device, and compare its scores with those of the file that it was made from.

    Faces and reference scores come from proof.npz beside the file, unless --faces and --against are given. Allowed
    are, for fp32, differences up to 1e-4; for fp16 up to 5e-3; for int8 and bf16, alone or mixed, a mean shift up to
    0.01 and a Spearman correlation from 0.99. The card of an engine that passes is marked as proven.

    Exit codes: 0 proven; 1 not proven, or an error; 2 a wrong path or option.
    """
    with error_exits():
        from sdk.proof.verify import prove, record_proof

        proof = prove(file, against, faces, device=device, precision=precision, trust=trust)
        recorded = record_proof(Path(file), proof)
    _show(file, proof)
    if proof.failures:
        raise typer.Exit(FAILED)
    print_plain(Console(), "proven" + (f"; written into {recorded}" if recorded else ""))


def _show(file: str, proof: "Proof") -> None:
    console, found = Console(), proof.agreement
    faces = count("face", found.count)
    print_plain(console, f"{file}: {proof.precision} on {proof.device}, {faces} against {proof.reference}")
    print_plain(
        console,
        f"largest difference {found.largest:.2e}, mean {found.mean:.2e}, shift {found.shift:+.2e}, "
        f"Spearman {found.spearman:.5f}",
    )
    for failure in proof.failures:
        print_plain(console, f"NOT PROVEN: {failure}", "red")
