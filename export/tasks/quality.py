"""Quality networks: aligned faces in, one score a face out."""

from pathlib import Path

from export.formats.table import export_format
from export.proof.compare import compare, compare_embeddings, figures
from export.proof.crops import verification_faces
from export.proof.package import proof_file
from export.proof.runtimes import ONE_OF_SEVERAL
from export.sources.checkpoint import load_source
from export.sources.source import Reference, Source
from export.tasks.base import Images, Outputs
from sdk.models.card import ModelCard
from sdk.proof.verify import Agreement


class QualitySteps:
    """See `export.tasks.base.TaskSteps`. The images are one array of crops of 112 x 112."""

    _embedding: Reference | None = None

    def read_images(self, folder: Path | None) -> Images:
        """Read the user's crops, or make the packaged ones."""
        return [verification_faces(folder)]

    def load_source(self, name: str, weights: Path | None, embedding: bool = False) -> Source:
        """Read a checkpoint or an ONNX file."""
        source = load_source(name, weights, embedding)
        self._embedding = source.embedding
        return source

    def compare(self, path: Path, card: ModelCard, images: Images, expected: Outputs) -> dict[str, Agreement]:
        """Score the faces in every runtime of the format, in several batches; compare embeddings in onnxruntime."""
        runtimes = export_format(card.format).runtimes(card.precision)
        if self._embedding is None:
            return compare(path, images[0], expected[0], runtimes)
        scores = compare(path, images[0], expected[0], [name for name in runtimes if name in ONE_OF_SEVERAL])
        return {**scores, **compare_embeddings(path, images[0], self._embedding(images[0]))}

    def figures(self, agreements: dict[str, Agreement]) -> dict[str, float]:
        """Return the largest difference of each, and the worst of the other figures."""
        return figures(agreements)

    def proof(self, images: Images, expected: Outputs, source_sha256: str) -> bytes | None:
        """Return faces and scores."""
        return proof_file(images[0], expected[0], source_sha256)
