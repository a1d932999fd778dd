"""CPU figures: `python benchmarks/cpu_scoring.py [NAME_OR_FILE ...] [--rounds N] [--int8 FILE]`.

Compares, on the same file and in interleaved rounds, `QualityScorer` with onnxruntime's default session and with
OpenCV DNN: one face at a time on one core and on all, a stream of single faces from as many callers as there are cores,
and a batch on all cores. With the extra `openvino` it measures `device="openvino"`, too: in fp32, in bf16, and with the
file of `--int8`, an int8 export of the one model that is named. The differences are those of scores of noise;
`fiqa-export` proves the file on faces. `ediffiqa-t` and `ediffiqa-s` are their architectures with random weights, for
speed does not depend on the values; give a file to measure that file.

Prints the median time, the median of the rounds' ratios, the largest difference of the scores, and for one core the
share of the core's fp32 matrix rate: the multiply-adds per second of the model, divided by those of torch's matrix
product in the same rounds. No runtime reaches a ratio in fp32 that would need a share above 1.
"""

import argparse
import math
import statistics
import tempfile
import time
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
from numpy.typing import NDArray

from fiqa import ModelCard, QualityScorer
from sdk.models.loading import Model, load_model
from sdk.runtimes.shared_runtime import prepare

ARCHITECTURES = ("ediffiqa-t", "ediffiqa-s")
FLOAT_INPUT = {"colour": "RGB", "layout": "NCHW", "dtype": "float32"}
BATCH = 64
MATRIX = 768
MATRIX_WAY = "matrix product"


def main() -> None:
    """Parse the command line, measure, print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=[*ARCHITECTURES, "fiqa-nano"])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--int8", type=Path)
    options = parser.parse_args()
    if options.int8 and len(options.models) != 1:
        parser.error("--int8 is an export of one model; name that one")
    print(f"onnxruntime {onnxruntime.__version__}, OpenCV {cv2.__version__}")
    print("model, way, batch, ms per face, times as fast as onnxruntime's default, largest difference, matrix rate")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.models:
            model, card = (
                (random_model(name, Path(folder)), random_card(name)) if name in ARCHITECTURES else (name, None)
            )
            measure(name, model, card, options.rounds, options.int8)


Ways = dict[str, Callable[[], object]]
"""What is timed, by name; the first one is what the others are compared with."""


@dataclass
class Compared:
    """Ways of scoring with one model.

    Attributes:
        single: Ways to score one face on one core.
        stream: Ways to score single faces from several threads.
        batched: Ways to score a batch.
        differences: Largest difference from the scores of onnxruntime, by the first words of a way.
    """

    single: Ways
    stream: Ways
    batched: Ways
    differences: dict[str, float]


def measure(name: str, model: str | Path, card: ModelCard | None, rounds: int, int8: Path | None) -> None:
    """Time all ways of scoring with one model, and print a line for each."""
    loaded = load_model(model, card)
    faces = np.random.default_rng(0).integers(0, 256, (BATCH, 112, 112, 3), np.uint8)
    compared = base_ways(model, card, loaded, faces)
    variants = [(model, card, precision) for precision in openvino_precisions()]
    if int8:
        variants.append((int8, None, None))
    for file, described, precision in variants:
        add_openvino(compared, file, described, precision, faces, default_session(loaded, 1)(faces))
    work = multiply_adds(loaded.data) / MATRIX**3
    for ways, count in ((compared.single, 1), (compared.stream, BATCH), (compared.batched, BATCH)):
        times = interleaved(ways, rounds, calls=1 if count > 1 else 8)
        reference = next(iter(times.values()))
        product = times.pop(MATRIX_WAY, None)
        for way, seconds in times.items():
            ratio = median_ratio(reference, seconds)
            shown = f"{compared.differences[way.split(',')[0]]:.1e}" if way.startswith("fiqa") else ""
            share = f"{work * median_ratio(product, seconds):.2f}" if product and "1 core" in way else ""
            milliseconds = 1000 * statistics.median(seconds) / count
            print(f"{name}, {way}, {count}, {milliseconds:.2f}, {ratio:.2f}, {shown}, {share}")


def base_ways(model: str | Path, card: ModelCard | None, loaded: Model, faces: NDArray[np.uint8]) -> Compared:
    """Return the ways of onnxruntime, OpenCV and `QualityScorer` on the CPU."""
    one, every = QualityScorer(model, "cpu", threads=1, card=card), QualityScorer(model, "cpu", card=card)
    default_one, default_every = default_session(loaded, 1), default_session(loaded, 0)
    callers = ThreadPoolExecutor(every.threads)
    single: Ways = {
        "onnxruntime, 1 core": lambda: default_one(faces[:1]),
        "fiqa, 1 core": lambda: one.score(faces[0]),
        MATRIX_WAY: matrix_product(),
        f"fiqa, {every.threads} cores, nobody else calls": lambda: every.score(faces[0]),
    }
    stream: Ways = {
        "onnxruntime, 1 core, stream": lambda: [default_one(face[None]) for face in faces],
        "onnxruntime, all cores, stream": lambda: [default_every(face[None]) for face in faces],
        f"fiqa, {every.threads} callers, stream": lambda: list(callers.map(every.score, faces)),
    }
    batched: Ways = {
        "onnxruntime, all cores": lambda: default_every(faces),
        f"fiqa, {every.threads} callers": lambda: every.score_batch(faces),
    }
    opencv = opencv_network(loaded)
    if opencv is not None:
        single["OpenCV DNN, all cores"] = lambda: opencv(faces[:1])
    difference = float(np.abs(default_one(faces) - every.score_batch(faces)).max())
    return Compared(single, stream, batched, {"fiqa": difference})


def add_openvino(
    compared: Compared,
    file: str | Path,
    card: ModelCard | None,
    precision: str | None,
    faces: NDArray[np.uint8],
    expected: NDArray[np.float32],
) -> None:
    """Add the ways of `device="openvino"`."""
    alone = QualityScorer(file, "openvino", threads=1, card=card, precision=precision)
    shared = QualityScorer(file, "openvino", card=card, precision=precision)
    callers = ThreadPoolExecutor(shared.threads)
    way = f"fiqa openvino {alone.precision}"
    compared.single[f"{way}, 1 core"] = lambda: alone.score(faces[0])
    compared.stream[f"{way}, {shared.threads} callers, stream"] = lambda: list(callers.map(shared.score, faces))
    compared.differences[way] = float(np.abs(expected - shared.score_batch(faces)).max())


def median_ratio(reference: list[float], seconds: list[float]) -> float:
    """Return how many times as fast as a reference it is: median over the rounds."""
    return statistics.median(other / own for other, own in zip(reference, seconds, strict=True))


def matrix_product() -> Callable[[], object]:
    """Return the fp32 product of two square matrices of `MATRIX` rows, by torch on one core."""
    import torch

    left, right = torch.randn(MATRIX, MATRIX), torch.randn(MATRIX, MATRIX)

    def multiply() -> None:
        torch.set_num_threads(1)
        torch.mm(left, right)

    return multiply


def multiply_adds(data: bytes) -> int:
    """Count the multiply-adds of the convolutions and linear layers for one face."""
    import onnx

    model = onnx.load_from_string(data)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    del model.graph.value_info[:]  # shapes of another batch
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    weights = {tensor.name: list(tensor.dims) for tensor in inferred.initializer}
    values = (*inferred.value_info, *inferred.output)
    shapes = {value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim] for value in values}
    total = 0
    for node in inferred.node:
        if node.op_type == "Conv":
            total += math.prod(shapes[node.output[0]]) * math.prod(weights[node.input[1]][1:])
        elif node.op_type in ("Gemm", "MatMul"):
            total += math.prod(weights[node.input[1]])
    return total


def openvino_precisions() -> list[str | None]:
    """Return the precisions of `device="openvino"` for fp32 files; none without the extra `openvino`."""
    try:
        import openvino
    except ImportError:
        return []
    return [None, *(["bf16"] if "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else [])]


def interleaved(ways: dict[str, Callable[[], object]], rounds: int, calls: int) -> dict[str, list[float]]:
    """Return the seconds per call of each way. Rounds alternate, so that other work on the machine slows all alike.

    A way makes several calls in a row, as in steady use: after a call of another way its weights are in no cache.
    """
    times: dict[str, list[float]] = {way: [] for way in ways}
    for call in ways.values():
        call()
    for _ in range(rounds):
        for way, call in ways.items():
            call()
            start = time.perf_counter()
            for _ in range(calls):
                call()
            times[way].append((time.perf_counter() - start) / calls)
    return times


def default_session(model: Model, threads: int) -> Callable[[np.ndarray], np.ndarray]:
    """Onnxruntime as it comes; 0 threads for its own choice."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model.data, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda faces: session.run(None, {name: prepare(faces, model.card.input)})[0][:, 0]


def opencv_network(model: Model) -> Callable[[np.ndarray], np.ndarray] | None:
    """OpenCV DNN, or None when it cannot run the file."""
    try:
        network = cv2.dnn.readNetFromONNX(np.frombuffer(model.data, np.uint8))
    except cv2.error as error:
        print(f"OpenCV DNN cannot load the file: {error}")
        return None

    def score(faces: np.ndarray) -> np.ndarray:
        network.setInput(prepare(faces, model.card.input))
        return network.forward()

    return score


def random_card(name: str) -> ModelCard:
    """Card of `random_model`."""
    return ModelCard.from_dict({"name": name, "input": FLOAT_INPUT})


def random_model(name: str, folder: Path) -> Path:
    """Write an ONNX file of an architecture, with random weights of moderate output (needs the extra `train`)."""
    import torch

    from train.networks.variants import create_network

    network = create_network(name).eval()
    state = network.state_dict()
    for key, tensor in state.items():
        draw = np.random.default_rng(zlib.crc32(key.encode()))
        if key.endswith("running_var"):
            values = draw.uniform(0.5, 1.5, tensor.shape)
        elif tensor.ndim >= 2:
            values = draw.standard_normal(tensor.shape) / np.sqrt(np.prod(tensor.shape[1:]))
        elif tensor.is_floating_point():
            centre = 0.25 if "prelu" in key else 0.2 if key.endswith("bn3.weight") else float(key.endswith("weight"))
            values = centre + 0.05 * draw.standard_normal(tensor.shape)
        else:
            continue
        state[key] = torch.from_numpy(np.asarray(values, np.float32))
    network.load_state_dict(state)
    path = folder / f"{name}.onnx"
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, 112, 112),),
        str(path),
        input_names=["input"],
        output_names=["quality"],
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        opset_version=20,
        dynamo=True,
        external_data=False,
        verbose=False,
    )
    return path


if __name__ == "__main__":
    main()
