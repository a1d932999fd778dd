"""The methods, one file each, and the table of those that label."""

LABELLERS = {
    "faceqan": ("train.methods.faceqan:faceqan_labeller", "FaceQAN (ICPR 2022); needs a face-recognition model."),
    "diffiqa": (
        "train.methods.diffiqa:diffiqa_labeller",
        "DifFIQA (IJCB 2023); needs a diffusion model and a face-recognition model.",
    ),
    "froq": (
        "train.methods.froq:froq_labeller",
        "FROQ (2025): layers of the face-recognition model, in one pass.",
    ),
    "grafiqs": ("train.methods.grafiqs:grafiqs_labeller", "GraFIQs (CVPRW 2024): gradients of batch-norm statistics."),
    "norm": (
        "train.labelling.embedder:norm_labeller",
        "Baseline: length of the embedding; any face-recognition model will do.",
    ),
    "sharpness": ("train.methods.baselines:Sharpness", "Baseline: sharpness, the variance of the Laplacian."),
    "detector": ("train.methods.baselines:DetectorConfidence", "Baseline: confidence of the face detector."),
    "lightqnet": ("train.methods.baselines:LightQNet", "Baseline: LightQNet (SPL 2021)."),
    "model": ("train.labelling.sdk_model:SDKModel", "Quality model of the SDK."),
}
"""Name of a command `fiqa-train label NAME` -> where its method is (see `train.labelling.method.Method`), its help."""
