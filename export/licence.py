"""May I ship it? The licence of fiqa itself and of each model, and the answer.

- `yes`: the licence allows it.
- `ask`: the licence allows it, but something behind it is open. Ask the person in your company who decides on that.
- `no`: nobody has given you the right.
"""

from dataclasses import dataclass

from sdk.errors import FiqaError
from sdk.models.card import ModelCard
from sdk.models.catalog import catalog
from sdk.models.loading import load_model
from sdk.models.store import locate_model


@dataclass(frozen=True, slots=True)
class Licence:
    """Licence of the code or of a model.

    Attributes:
        name: `fiqa`, or the model's name.
        licence: SPDX identifier, or a sentence.
        attribution: Whom to credit; empty if the licence asks for no credit.
        training_data: What the weights were trained on; empty if it is not stated.
        ship: May I ship it in a product? `yes`, `no` or `ask`.
        reason: Why.
    """

    name: str
    licence: str
    attribution: str
    training_data: str
    ship: str
    reason: str


CODE = Licence(
    "fiqa",
    "Apache-2.0",
    "keep LICENSE and NOTICE",
    "",
    "yes",
    "Apache-2.0 allows it if you pass on LICENSE and NOTICE. This is the code; each model has its own licence.",
)
"""Licence of fiqa's code."""


def licence_of(name: str) -> Licence:
    """Return the licence of a model: from the card of its file if that is on this machine, else from the catalogue.

    Args:
        name: Name of a model in the catalogue, or of another network.
    """
    entry = catalog().get(name)
    if entry is None:
        reason = "fiqa has no weights of this network. The licence is that of the weights that you export."
        return Licence(name, "that of your weights", "", "", "ask", reason)
    card = _own_card(name) or entry.card
    return Licence(name, card.licence, card.attribution, card.training_data, entry.ship, entry.ship_reason)


def _own_card(name: str) -> ModelCard | None:
    try:
        return load_model(name).card if locate_model(name) is not None else None
    except FiqaError:  # the file is damaged; `fiqa models verify` reports it
        return None
