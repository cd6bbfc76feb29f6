"""Cross-attention over the parts of a case, in torch: one learned query, one key and value a part."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
DROPOUT = 0.3


def attend(
    values: list[Array], masks: Array, y: NDArray[Any], seed: int, width: int, steps: int
) -> Callable[[list[Array], Array], Array]:
    """Fit it (AdamW, full batches, balanced cross-entropy). masks: (copies * n, parts), which parts each row may see.

    Returns a function from parts [(n, d)] and mask (n, parts) to log-odds (n,).
    """
    import torch
    from torch import nn

    torch.manual_seed(seed)
    tokens = nn.ModuleList(
        [nn.Sequential(nn.Dropout(DROPOUT), nn.Linear(v.shape[1], width), nn.Tanh()) for v in values]
    )
    absent = nn.Parameter(torch.zeros(1, 1, width))  # always there, so that a case without parts has an answer
    query = nn.Parameter(torch.randn(1, 1, width) / width**0.5)
    attention, top = nn.MultiheadAttention(width, 4, batch_first=True), nn.Linear(width, 1)
    parameters = [absent, query, *tokens.parameters(), *attention.parameters(), *top.parameters()]
    optimiser = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-1)

    def forward(v: list[Any], mask: Any) -> Any:
        seen = torch.stack([t(x) for t, x in zip(tokens, v, strict=True)], dim=1)
        keys = torch.cat([absent.expand(len(mask), 1, width), seen], dim=1)
        hidden = torch.cat([torch.zeros(len(mask), 1, dtype=torch.bool), mask == 0], dim=1)
        out, _ = attention(query.expand(len(mask), 1, width), keys, keys, key_padding_mask=hidden)
        return top(out[:, 0])[:, 0]

    copies = len(masks) // len(y)
    given = [torch.from_numpy(np.tile(v, (copies, 1))).float() for v in values]
    mask, target = torch.from_numpy(masks).float(), torch.from_numpy(np.tile(y, copies)).float()
    weight = torch.where(target == 1, 0.5 / target.mean(), 0.5 / (1 - target.mean()))
    for _ in range(steps):
        optimiser.zero_grad()
        loss = nn.functional.binary_cross_entropy_with_logits(forward(given, mask), target, weight)
        loss.backward()
        optimiser.step()
    tokens.eval()

    def score(v: list[Array], mask: Array) -> Array:
        with torch.inference_mode():
            said = forward([torch.from_numpy(x).float() for x in v], torch.from_numpy(mask).float())
        return np.asarray(said.numpy(), np.float64)

    return score
