"""Where a model looks: the tokens of each modality that speak for a class."""

from __future__ import annotations

import torch
from torch import Tensor

from scmrl_plugins.core.model.audio_visual import AudioVisualModel


def grad_cam(
    model: AudioVisualModel, audio: Tensor | None, visual: Tensor | None, classes: Tensor
) -> dict[str, Tensor]:
    """Grad-CAM of the classes ``[B]`` on the tokens before the fusion, ``[B, N]`` for each modality.

        cam[n] = sum_t max(0, sum_d w[t, d] x[t, d, n]),   w[t, d] = mean_n dz_c / dx[t, d, n]

    x are the tokens and z_c the logit of the class, for any fusion; the derivative of a spike is its surrogate. In
    evaluation mode; parameters get no gradient. Each map is scaled to a maximum of 1, unless it is 0 everywhere.
    Source: Selvaraju et al., ICCV 2017, arXiv 1610.02391.
    """
    modes = [(module, module.training) for module in model.modules()]
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        model.eval()
        with torch.no_grad():
            tokens = model.tokens(model.encode(audio, visual))
        for parameter in learned:
            parameter.requires_grad_(False)
        tokens = {name: x.detach().clone().requires_grad_() for name, x in tokens.items()}
        with torch.enable_grad():
            logits = model.predict(tokens).logits
            score = logits.gather(1, classes.to(logits.device).unsqueeze(1)).sum()
            gradients = torch.autograd.grad(score, list(tokens.values()), allow_unused=True)
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
        for module, mode in modes:
            module.training = mode
    return {
        name: _map(x.detach(), gradient) for (name, x), gradient in zip(tokens.items(), gradients, strict=True)
    }


def _map(tokens: Tensor, gradient: Tensor | None) -> Tensor:
    """The map ``[B, N]`` of tokens ``[T, B, D, N]`` and their gradient; none: nothing depends on them."""
    if gradient is None:
        return tokens.new_zeros(tokens.shape[1], tokens.shape[3])
    weights = gradient.mean(3, keepdim=True)
    cam = (weights * tokens).sum(2).clamp_min(0).sum(0)
    return cam / cam.amax(1, keepdim=True).clamp_min(torch.finfo(cam.dtype).tiny)
