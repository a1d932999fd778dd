"""The head's warm-up."""

import numpy as np
import torch

from train.fitting.warm_up import WarmUpSettings, warm_up_head
from train.networks import QualityNetwork


def test_the_head_learns_on_raw_embeddings(tiny_network: QualityNetwork) -> None:
    rng = np.random.default_rng(0)
    embeddings = (7 * rng.normal(size=(600, 16))).astype(np.float32)
    labels = (1 / (1 + np.exp(-embeddings[:, 0] / 5))).astype(np.float32)
    backbone = {key: value.clone() for key, value in tiny_network.base_model.state_dict().items()}
    warm_up_head(tiny_network, embeddings, labels, WarmUpSettings(epochs=30, batch_size=32, lr=1e-2, dropout=0.0))
    with torch.no_grad():
        predicted = tiny_network.mlp(torch.from_numpy(embeddings))[:, 0].numpy()
    assert np.abs(predicted - labels).mean() < 0.25 * np.abs(labels - np.median(labels)).mean()
    assert all(torch.equal(value, backbone[key]) for key, value in tiny_network.base_model.state_dict().items())


def test_no_epochs_change_nothing_and_the_seed_decides(tiny_network: QualityNetwork) -> None:
    before = tiny_network.mlp.l1.weight.clone()
    embeddings, labels = np.ones((8, 16), np.float32), np.linspace(0, 1, 8, dtype=np.float32)
    warm_up_head(tiny_network, embeddings, labels, WarmUpSettings())
    assert torch.equal(tiny_network.mlp.l1.weight, before)
    results = []
    for seed in (1, 1, 2):
        tiny_network.mlp.l1.weight.data.copy_(before)
        state = torch.get_rng_state()
        rng = np.random.default_rng(0).normal(size=(8, 16)).astype(np.float32)
        warm_up_head(tiny_network, rng, labels, WarmUpSettings(epochs=2, batch_size=4, seed=seed))
        assert torch.equal(torch.get_rng_state(), state)  # other chance is left alone
        results.append(tiny_network.mlp.l1.weight.clone())
        tiny_network.mlp.l2.weight.data.fill_(0.1)
    assert not torch.equal(results[1], results[2])
