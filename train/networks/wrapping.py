"""Sections and prefixes that checkpoints wrap weights in, and running averages beside the weights."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

StateDict = dict[str, Tensor]
Fits = Callable[[StateDict], bool]

AVERAGES = ("ema_state_dict", "state_dict_ema", "model_ema", "params_ema", "ema_model", "ema_net", "ema", "average")
"""Sections of averaged weights. They are preferred, for they are what their authors use."""

SECTIONS = (
    *AVERAGES, "state_dict", "model", "model_state_dict", "net", "network", "weights", "params", "module",
    "teacher", "student",
)  # fmt: skip
"""All sections, the preferred ones first."""

AVERAGE_PREFIXES = ("ema_model.", "ema.", "model_ema.")

PREFIXES = (*AVERAGE_PREFIXES, "_orig_mod.", "module.", "model.", "net.", "network.", "online_model.")
"""Prefixes of keys, by torch.compile, wrappers for several devices or for averages, Lightning and others."""

PUBLISHED = {
    "base.": "base_model.", "linear.": "mlp.",  # DifFIQA(R)
    "regressor.": "mlp.",  # transfer learning
    "feature_extractor.": "base_model.", "quality_head.": "mlp.",  # AI-KD
}  # fmt: skip
"""Names of backbones and heads in published checkpoints -> ours, which are eDifFIQA's."""

_DEEPEST = 8
_MOST = 256


@dataclass(frozen=True, slots=True)
class Candidate:
    """Tensors of a checkpoint that may be the weights.

    Attributes:
        place: Sections and prefixes that lead to them, from the outside.
        state: The tensors by key, prefixes taken off.
    """

    place: tuple[str, ...]
    state: StateDict

    @property
    def averaged(self) -> bool:
        """True where the tensors are averages."""
        return any(part in AVERAGES or part in AVERAGE_PREFIXES for part in self.place)


def candidates(loaded: object) -> list[Candidate]:
    """Return all state dicts that may be the weights: averages first, then in the order of `SECTIONS`."""
    found: list[Candidate] = []
    for candidate in _sections(loaded, (), set()):
        found += _without_prefixes(candidate)
        if len(found) > _MOST:
            break
    found += [renamed for candidate in found if (renamed := _renamed(candidate)) is not None]
    return sorted(found, key=lambda candidate: not candidate.averaged)


def _sections(loaded: object, place: tuple[str, ...], seen: set[int]) -> Iterator[Candidate]:
    if not isinstance(loaded, Mapping) or id(loaded) in seen or len(place) > _DEEPEST:
        return
    seen.add(id(loaded))
    for name in SECTIONS:
        yield from _sections(loaded.get(name), (*place, name), seen)
    state = {key: value for key, value in loaded.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if state:
        yield Candidate(place, state)


def _without_prefixes(candidate: Candidate, depth: int = 0) -> Iterator[Candidate]:
    """Yield a candidate, and what remains of it without each prefix: the keys that have the prefix."""
    yield candidate
    if depth == _DEEPEST:
        return
    for prefix in PREFIXES:
        state = {
            key[len(prefix) :]: value
            for key, value in candidate.state.items()
            if key.startswith(prefix) and key != prefix
        }
        if state:
            yield from _without_prefixes(Candidate((*candidate.place, prefix), state), depth + 1)


def _renamed(candidate: Candidate) -> Candidate | None:
    """Return a candidate with our names of backbone and head; None where it has no others."""
    names = {key: _our_name(key) for key in candidate.state}
    if all(key == name for key, name in names.items()) or len(set(names.values())) < len(names):
        return None
    return Candidate(candidate.place, {names[key]: value for key, value in candidate.state.items()})


def _our_name(key: str) -> str:
    prefix = next((prefix for prefix in PUBLISHED if key.startswith(prefix)), "")
    return PUBLISHED.get(prefix, "") + key.removeprefix(prefix)


def choose(found: list[Candidate], fits: Fits, first: tuple[str, ...] = ()) -> tuple[Candidate | None, list[Candidate]]:
    """Choose the weights.

    Args:
        found: See `candidates`.
        fits: Returns True for tensors of the wanted network.
        first: Sections that are preferred to all others, also to averages.

    Returns:
        The best candidate that fits, or None; and the others that fit, each set of tensors once.
    """
    fitting: list[Candidate] = []
    for candidate in found:
        if fits(candidate.state) and not any(_same(candidate, other) for other in fitting):
            fitting.append(candidate)
    fitting.sort(key=lambda candidate: not any(part in first for part in candidate.place))
    return (fitting[0], fitting[1:]) if fitting else (None, [])


def _same(a: Candidate, b: Candidate) -> bool:
    return a.state.keys() == b.state.keys() and all(value is b.state[key] for key, value in a.state.items())


def describe(candidate: Candidate) -> str:
    """Describe the place of a candidate, for a message."""
    return " > ".join(repr(part) for part in candidate.place) or "its top"


def plain(loaded: Any) -> StateDict:
    """Return the most likely weights, where the network is not known. A prefix that all keys have is removed.

    Returns:
        Tensors by key; empty where there are none.
    """
    wanted = next((c for c in _sections(loaded, (), set()) if c.state), None)
    state = wanted.state if wanted else {}
    for _ in range(_DEEPEST):
        prefix = next((p for p in PREFIXES if state and all(key.startswith(p) and key != p for key in state)), None)
        if prefix is None:
            break
        state = {key[len(prefix) :]: value for key, value in state.items()}
    return state
