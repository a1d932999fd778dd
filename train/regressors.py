"""The table of the methods that train a network on labels. A new one is a new file and a line here."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Entry:
    """A method of the table.

    Attributes:
        place: `module:class` of its `train.fitting.regressor.Regressor`; it is imported when it is used.
        about: Help of its command.
    """

    place: str
    about: str


REGRESSORS = {
    "ediffiqa": Entry(
        "train.methods.ediffiqa:EDifFIQA", "eDifFIQA (TBIOM 2024): recipes ediffiqa-t, -s, -m, -l, fiqa-nano."
    ),
    "regression": Entry(
        "train.methods.regression:Regression",
        "DifFIQA(R) (IJCB 2023) and the transfer learning of label optimisation (IWBF 2023).",
    ),
    "aikd": Entry("train.methods.aikd:AIKD", "AI-KD (IWBF 2024): scores that do not change when the alignment does."),
}
"""By the name of the command, `fiqa-train fit NAME`, and of the section in a recipe."""
