"""The table of the methods that train a network on labels. A new one is a new file and a line here."""

REGRESSORS = {
    "ediffiqa": (
        "train.methods.ediffiqa:EDifFIQA",
        "eDifFIQA (TBIOM 2024): recipes ediffiqa-t, -s, -m, -l, -nano.",
    ),
    "regression": (
        "train.methods.regression:Regression",
        "DifFIQA(R) (IJCB 2023) and the transfer learning of label optimisation (IWBF 2023).",
    ),
    "blend": (
        "train.methods.blend:Blend",
        "Several labels, an output each; the score is their mean: recipe fiqa-nano.",
    ),
    "aikd": ("train.methods.aikd:AIKD", "AI-KD (IWBF 2024): scores that do not change when the alignment does."),
}
"""Name of a command, `fiqa-train fit NAME`, and of a section in a recipe -> where its class is (see
`train.fitting.regressor.Regressor`), its help. The class is imported when it is used."""
