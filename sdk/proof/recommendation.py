"""The recommendation of `fiqa bench`: the fastest configuration whose scores are right."""

from collections.abc import Sequence

from sdk.proof.bench import Measured, rate

MARGIN = 1.05
"""Least speed of another precision to be recommended, in multiples of the speed of fp32."""


def recommend(measured: Sequence[Measured], network: str) -> tuple[Measured, str] | None:
    """Return the configuration of a network that scores most faces per second, and why; None where there is none.

    A configuration whose scores are not proven is never recommended. One in another precision than fp32 must be faster
    than fp32 by `MARGIN`.
    """
    good = [row for row in measured if row.network == network and not row.failure and row.faces_per_second]
    plain = max((row for row in good if row.precision == "fp32"), key=rate, default=None)
    best = max(good, key=rate, default=None)
    if best is None or plain is None:
        return None
    gain = rate(best) / rate(plain)
    if best.precision != "fp32" and gain < MARGIN:
        best, gain = plain, 1.0
    left = [row for row in measured if row.network == network and row.failure and row.faces_per_second]
    why = f"{rate(best):.0f} faces/s"
    if best is plain:
        others = sorted({row.precision for row in good if row.precision != "fp32"})
        why += ", the most in fp32" + (f"; {', '.join(others)}: not faster" if others else "")
    else:
        why += f", {gain:.2f} times the best of fp32, with Spearman {best.spearman:.4f}, difference {best.largest:.1e}"
    if left:
        why += f"; not considered: {', '.join(sorted({f'{row.precision} on {row.device}' for row in left}))} (unproven)"
    return best, why
