"""`MidasNet`: the network of a genotype, which behaves as timm expects of a model.

The auxiliary head is a separate module: a registered model holds only what its logits use.
"""

from typing import Any, cast

import torch
from timm.layers import DropPath, create_classifier
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from midas.genotype import Genotype
from midas.kernels.batch_norm import Chain
from midas.nets import skeletons
from midas.spaces import get_space

POOL = 5  # side of the pooling window


class AuxiliaryHead(nn.Module):
    """A second classifier after two thirds of the cells (DARTS, arXiv 1806.09055, appendix).

    ``imagenet`` has no batch norm after its second convolution, as in the public code whose
    parameters are the reference.
    """

    def __init__(self, channels: int, num_classes: int, skeleton: str = "cifar") -> None:
        super().__init__()
        self.stride = 2 if skeleton == "imagenet" else 3
        last_norm = nn.Identity() if skeleton == "imagenet" else nn.BatchNorm2d(768)
        self.convs = Chain(
            nn.Conv2d(channels, 128, 1, bias=False),
            nn.BatchNorm2d(128),
            nn.ReLU(),
            nn.Conv2d(128, 768, 2, bias=False),
            last_norm,
            nn.ReLU(),
        )
        self.classifier = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Compute logits [B, num_classes] from features [B, channels, H, W] of any size."""
        x = F.relu(x)
        if min(x.shape[-2:]) < POOL + self.stride:  # as those of the published sizes
            x = F.adaptive_avg_pool2d(x, 2)
        else:
            x = F.avg_pool2d(x, POOL, self.stride, count_include_pad=False)
        x = self.convs(x).mean(dim=(2, 3))  # [B, 768, h, w] -> [B, 768]
        return cast(Tensor, self.classifier(x))


class MidasNet(nn.Module):
    """A stack of a genotype's cells and a classifier, with arguments as in `build_network`.

    `global_pool` is timm's name of a pooling, or empty for none. `drop_rate` is dropout before the
    classifier, `drop_path_rate` drop path, the same for every operation.
    """

    def __init__(
        self,
        genotype: Genotype,
        *,
        channels: int,
        cells: int,
        skeleton: str = "cifar",
        num_classes: int = 1000,
        in_chans: int = 3,
        global_pool: str = "avg",
        drop_rate: float = 0.0,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__()
        self.channels = channels
        self.num_classes = num_classes
        self.in_chans = in_chans
        self.drop_rate = drop_rate
        self.grad_checkpointing = False
        self.pretrained_cfg: dict[str, Any] = {}  # timm fills it, and reads it by its old name, too
        self.default_cfg = self.pretrained_cfg
        if get_space(genotype.space).skeleton == "nasbench201":
            parts = skeletons.nasbench201(genotype, channels, cells, skeleton, in_chans)
        else:
            parts = skeletons.darts(genotype, channels, cells, skeleton, in_chans)
        self.stem0 = parts.stem0.module
        self.stem1 = parts.stem1.module
        self.cells = nn.ModuleList(block.module for block in parts.blocks)
        self.rectify = parts.rectify
        self.norm = parts.norm
        self.auxiliary_index = parts.auxiliary
        self.auxiliary_channels = parts.blocks[parts.auxiliary].channels
        blocks = [parts.stem0, parts.stem1, *parts.blocks]
        # the last block of each map size; the stems are blocks 0 and 1
        self.feature_blocks = list({b.reduction: index for index, b in enumerate(blocks)}.values())
        self.feature_info = [
            {
                "num_chs": blocks[index].channels,
                "reduction": blocks[index].reduction,
                "module": f"stem{index}" if index < 2 else f"cells.{index - 2}",
            }
            for index in self.feature_blocks
        ]
        self.num_features = parts.blocks[-1].channels
        self.global_pool, self.head_drop, self.classifier = create_classifier(
            self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        self.set_drop_path(drop_path_rate)

    def set_drop_path(self, probability: float) -> None:
        """Set the probability that training drops an operation's output for a sample."""
        self.drop_path_rate = probability
        for module in self.modules():
            if isinstance(module, DropPath):
                module.drop_prob = probability

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the cells' outputs for the backward pass: less memory, more time."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter names by depth, for layer-wise learning rates; `coarse` joins all cells."""
        return {
            "stem": r"^stem[01]",
            "blocks": r"^cells" if coarse else [(r"^cells\.(\d+)", None), (r"^norm", (99999,))],
        }

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return cast(nn.Module, self.classifier)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Replace the classifier, and the pooling where one is named; 0 classes leave it out."""
        self.num_classes = num_classes
        pool = self.global_pool.pool_type if global_pool is None else global_pool
        weight = next(self.parameters())
        self.global_pool, self.classifier = create_classifier(
            self.num_features, num_classes, pool_type=pool, device=weight.device, dtype=weight.dtype
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        self.global_pool.train(self.training)
        self.classifier.train(self.training)

    def forward_cells(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the last features, and those for an auxiliary head, each [B, C, H', W']."""
        auxiliary = self.auxiliary_index + 2
        last, kept = self._forward_blocks(x, [auxiliary], len(self.cells))
        return self.norm(last), kept[auxiliary if auxiliary in kept else 1]

    def _forward_blocks(
        self, x: Tensor, keep: list[int], cells: int
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """Run the stems (blocks 0 and 1) and some cells; return the last output and those kept."""
        first: Tensor = self.stem0(x)
        previous: Tensor = self.stem1(first)
        kept: dict[int, Tensor] = {0: first, 1: previous}
        before = self.rectify(first)
        recompute = self.grad_checkpointing and self.training
        for index, cell in enumerate(self.cells):
            if index < cells:  # TorchScript knows no `break` in this loop
                now = self.rectify(previous)
                if recompute and not torch.jit.is_scripting():  # type: ignore[attr-defined]
                    previous = checkpoint(cell, before, now, use_reentrant=False)
                else:
                    previous = cell(before, now)
                before = now
                if index + 2 in keep:
                    kept[index + 2] = previous
        return previous, kept

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The last feature map of each size, from images [B, in_chans, H, W], and the features.

        `indices` are entries of `feature_info`, or how many of the last; None takes all. `norm`
        applies the last norm to the last map, `stop_early` skips the blocks behind it.
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt: {output_fmt!r} is unknown; these maps are 'NCHW'")
        take, last = feature_take_indices(len(self.feature_info), indices)
        cells = self.feature_blocks[last] - 1 if stop_early else len(self.cells)
        features, outputs = self._forward_blocks(x, self.feature_blocks, cells)
        if (end := self.feature_blocks[-1]) in outputs:  # the last norm fits the last block only
            features = self.norm(features)
            if norm:
                outputs[end] = features
        maps = [outputs[self.feature_blocks[index]] for index in take]
        return maps if intermediates_only else (features, maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the maps of `indices` do not need: later blocks, last norm and classifier."""
        take, last = feature_take_indices(len(self.feature_info), indices)
        kept = max(0, self.feature_blocks[last] - 1)
        if prune_norm or kept < len(self.cells):  # the last norm fits the last block only
            self.norm = nn.Identity()
        self.cells = self.cells[:kept]
        if prune_head:
            self.reset_classifier(0, "")
        return list(take)

    def forward_features(self, x: Tensor) -> Tensor:
        """Map images [B, in_chans, H, W] to the last features [B, num_features, H', W']."""
        return self.forward_cells(x)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Map features [B, num_features, H', W'] to logits, or to the classifier's input."""
        x = self.head_drop(self.global_pool(x))
        return x if pre_logits else self.classifier(x)

    def compile_cells(self) -> None:
        """Compile each cell by itself, so that equal cells are compiled once."""
        dynamo = torch._dynamo.config  # by default it keeps 8 compiled versions of a method
        dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * len(self.cells))
        for cell in self.cells:
            cell.compile()

    def forward(self, x: Tensor) -> Tensor:
        """Map images [B, in_chans, H, W] to logits [B, num_classes]."""
        return self.forward_head(self.forward_features(x))
