"""Reasons: the measures that are beyond their limits."""

from collections.abc import Mapping

from sdk.decision.measures import SCALES
from sdk.decision.texts import default_texts
from sdk.results import Measure, Reason


def find_reasons(measures: Mapping[str, Measure], texts: Mapping[str, str] | None = None) -> tuple[Reason, ...]:
    """Return the reasons that follow from measures, the worst first.

    Args:
        measures: Of one face, as `measure` gives them.
        texts: Text of each code, see `read_texts`; None for English.
    """
    texts = default_texts() if texts is None else texts
    found = []
    for name, scale in SCALES.items():
        if name in measures and scale.code:
            value = measures[name].value
            quality = scale.quality(abs(value))
            if quality < 50:
                found.append((quality, Reason(scale.code, texts[scale.code], name, value, float(scale.limit))))
    beyond = {reason.measure for _, reason in found}
    found = [one for one in found if not beyond & set(SCALES[one[1].measure].unless)]
    return tuple(reason for _, reason in sorted(found, key=lambda item: item[0]))
