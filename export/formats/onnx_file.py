"""ONNX: the file that all runtimes read or are built from."""

from pathlib import Path

from export.formats.table import ExportFormat, Facts, Order, Written
from sdk.files import write_file
from sdk.models.card import ModelCard
from sdk.models.formats import PRECISIONS
from sdk.models.loading import write_card_beside


def _write(order: Order) -> Written:
    from export.file_card import add_card
    from export.graph.float16 import to_float16
    from export.graph.int8 import quantise
    from export.proof.form import check_form

    model, ranges = order.model, {}
    if order.calibration is not None:
        quantised = quantise(model, order.calibration)
        model = quantised.model
        ranges = {
            "method": quantised.method,
            "faces": quantised.faces,
            "folder": order.calibration_origin,
            "layers": list(quantised.layers),
            "ranges": dict(quantised.ranges),
        }
    if PRECISIONS[order.card.precision].float16:
        model = to_float16(model)
    path = order.path("onnx")
    write_file(path, add_card(model, order.card))
    check_form(path, order.ends)
    return Written(path, order.card, ranges)


def _write_card(order: Order, path: Path, card: ModelCard) -> None:
    """Write the final card into the file, and beside it."""
    import onnx

    from export.file_card import add_card
    from export.proof.form import check_form

    write_file(path, add_card(onnx.load(path), card))
    check_form(path, order.ends)
    write_card_beside(path, card)


def _inspect(path: Path) -> Facts:
    from export.formats.onnx_inspection import inspect_onnx

    return inspect_onnx(path)


ONNX = ExportFormat(
    _write,
    _inspect,
    "onnxruntime; in fp32 OpenCV DNN, too",
    proven_in=("onnxruntime", "fiqa"),
    proven_in_fp32=("OpenCV DNN",),
    options=("calibration", "target", "embedding"),
    write_card=_write_card,
)
