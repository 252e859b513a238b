"""ResNet backbones saved under timm's names, read into transformers' own ResNet: no timm, no torchvision.

facebook/detr-resnet-50 and its kin were saved with a timm backbone, and timm needs torchvision, whose build
in the registry does not go with the CPU build of torch. Both libraries have the same network (ResNet v1.5:
the stride in the 3x3 convolution); only the names of the weights differ.
"""

from __future__ import annotations

from typing import Any

# name: depths, layer type, channels
RESNETS: dict[str, tuple[list[int], str, list[int]]] = {
    "resnet18": ([2, 2, 2, 2], "basic", [64, 128, 256, 512]),
    "resnet34": ([3, 4, 6, 3], "basic", [64, 128, 256, 512]),
    "resnet50": ([3, 4, 6, 3], "bottleneck", [256, 512, 1024, 2048]),
    "resnet101": ([3, 4, 23, 3], "bottleneck", [256, 512, 1024, 2048]),
    "resnet152": ([3, 8, 36, 3], "bottleneck", [256, 512, 1024, 2048]),
}
STAGES = 4


def resnet_for(config: Any) -> Any | None:
    """Return the ResNetConfig that stands for the timm backbone of ``config``, or None."""
    backbone = getattr(config, "backbone_config", None)
    if getattr(backbone, "model_type", None) != "timm_backbone" or getattr(config, "dilation", False):
        return None
    name = str(getattr(backbone, "backbone", "")).partition(".")[0]
    if name not in RESNETS:
        return None
    from transformers import ResNetConfig

    depths, layer_type, channels = RESNETS[name]
    return ResNetConfig(
        depths=depths,
        layer_type=layer_type,
        hidden_sizes=channels,
        out_features=[f"stage{stage + 1}" for stage in range(STAGES)],
    )


def renamed_weights() -> dict[str, str]:
    """Return patterns of timm's names and what transformers' ResNet calls the same weights."""
    timm = r"backbone\.conv_encoder\.model\."
    ours = "backbone.conv_encoder.model."
    names = {
        rf"{timm}conv1\.": f"{ours}embedder.embedder.convolution.",
        rf"{timm}bn1\.": f"{ours}embedder.embedder.normalization.",
    }
    for stage in range(STAGES):
        block, layer = rf"{timm}layer{stage + 1}\.(\d+)\.", rf"{ours}encoder.stages.{stage}.layers.\1."
        for step in range(3):
            names[rf"{block}conv{step + 1}\."] = f"{layer}layer.{step}.convolution."
            names[rf"{block}bn{step + 1}\."] = f"{layer}layer.{step}.normalization."
        names[rf"{block}downsample\.0\."] = f"{layer}shortcut.convolution."
        names[rf"{block}downsample\.1\."] = f"{layer}shortcut.normalization."
    return names
