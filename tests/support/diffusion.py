"""Settings of the diffusion model with which it trains in seconds."""

from train.methods.fit_diffiqa import DiffusionSettings

SETTINGS = DiffusionSettings(
    width=8, steps=5, batch_size=1, accumulate=2, ema_every=2, workers=0, sample_every=3, save_every=1
)
