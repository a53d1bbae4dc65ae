"""`MidasNet`: the network of a genotype, as timm expects a model to behave.

The auxiliary head of the training recipe is a module of its own (`midas.nets.auxiliary`), because a registered model
may hold no parameter that its logits do not use.
"""

from typing import Any, cast

import torch
from timm.layers import DropPath, create_classifier
from timm.models._features import feature_take_indices
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from midas.genotype import Genotype
from midas.nets import skeletons
from midas.spaces import get_space


class MidasNet(nn.Module):
    """A stack of the genotype's cells with a classifier; made by `midas.nets.build.build_network`, which checks.

    Args:
        genotype: the cells.
        channels: channels of the first cells' nodes; they double at each reduction.
        cells: how many cells in all (DARTS skeletons), or in each of three stages (NAS-Bench-201).
        skeleton: ``cifar`` or ``imagenet`` for DARTS cells; a NAS-Bench-201 cell has its own.
        num_classes: classes; 0 leaves the classifier out.
        in_chans: channels of the image.
        global_pool: timm's name of a pooling, ``avg`` as published, or empty for none.
        drop_rate: dropout before the classifier.
        drop_path_rate: drop path of every operation, the same at every depth.
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
        self.num_classes, self.in_chans, self.drop_rate = num_classes, in_chans, drop_rate
        self.grad_checkpointing = False
        self.pretrained_cfg: dict[str, Any] = {}  # timm fills it, also under its old name
        self.default_cfg = self.pretrained_cfg
        if get_space(genotype.space).skeleton == "nasbench201":
            parts = skeletons.nasbench201(genotype, channels, cells, in_chans)
        else:
            parts = skeletons.darts(genotype, channels, cells, skeleton, in_chans)
        self.stem0, self.stem1 = parts.stem0.module, parts.stem1.module
        self.cells = nn.ModuleList(block.module for block in parts.blocks)
        self.rectify = parts.rectify
        self.norm = parts.norm
        self.auxiliary_index = parts.auxiliary
        self.auxiliary_channels = parts.blocks[parts.auxiliary].channels
        self.feature_info = _feature_info(parts)
        self.num_features = parts.blocks[-1].channels
        self.global_pool, self.head_drop, self.classifier = create_classifier(
            self.num_features, num_classes, pool_type=global_pool, drop_rate=drop_rate
        )
        self.head_hidden_size = self.num_features * self.global_pool.feat_mult()
        self.set_drop_path(drop_path_rate)

    def set_drop_path(self, probability: float) -> None:
        """Set the probability with which each operation's output is dropped, a sample at a time, in training."""
        self.drop_path_rate = probability
        for module in self.modules():
            if isinstance(module, DropPath):
                module.drop_prob = probability

    def set_grad_checkpointing(self, enable: bool = True) -> None:
        """Keep only the cells' outputs for the backward pass and compute the rest again: less memory, more time."""
        self.grad_checkpointing = enable

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        """Parameter names by depth, for layer-wise learning rates; `coarse` puts all cells into one group."""
        return {
            "stem": r"^stem[01]",
            "blocks": r"^cells" if coarse else [(r"^cells\.(\d+)", None), (r"^norm", (99999,))],
        }

    def get_classifier(self) -> nn.Module:
        """The last linear layer."""
        return cast(nn.Module, self.classifier)

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Put a new classifier in place, by default behind the same pooling; 0 classes leave it out."""
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
        """The last features and those an auxiliary head reads.

        Args:
            x: images [B, in_chans, H, W], normalised.

        Returns:
            features [B, num_features, H', W'] and auxiliary features [B, auxiliary_channels, H'', W''].
        """
        first: Tensor = self.stem0(x)
        previous: Tensor = self.stem1(first)
        auxiliary, before = previous, self.rectify(first)
        for index, cell in enumerate(self.cells):
            now = self.rectify(previous)
            # the mark as in midas/spaces/depthwise.py
            if self.grad_checkpointing and self.training and not torch.jit.is_scripting():  # type: ignore[attr-defined]
                before, previous = now, checkpoint(cell, before, now, use_reentrant=False)
            else:
                before, previous = now, cell(before, now)
            if index == self.auxiliary_index:
                auxiliary = previous
        return self.norm(previous), auxiliary

    def forward_intermediates(
        self,
        x: Tensor,
        indices: int | list[int] | None = None,
        norm: bool = False,
        stop_early: bool = False,
        output_fmt: str = "NCHW",
        intermediates_only: bool = False,
    ) -> Any:
        """The last feature map of each size, as timm's own models give them.

        Args:
            x: images [B, in_chans, H, W], normalised.
            indices: which entries of `feature_info`, or how many of the last; all by default.
            norm: apply the network's last norm (NAS-Bench-201 skeletons have one) to the last map.
            stop_early: run no block behind the last map that is asked for.
            output_fmt: ``NCHW`` alone.
            intermediates_only: give the list alone.

        Returns:
            A list of maps [B, C, H', W'], or (last features, that list).
        """
        if output_fmt != "NCHW":
            raise ValueError(f"output_fmt: {output_fmt!r} is not known; these maps are 'NCHW'")
        take, last = feature_take_indices(len(self.feature_info), indices)
        names = [str(info["module"]) for info in self.feature_info]
        wanted, end = [names[index] for index in take], names[last]
        found: dict[str, Tensor] = {}
        first = previous = found["stem0"] = self.stem0(x)
        previous = found["stem1"] = self.stem1(first)
        before = self.rectify(first)
        for index, cell in enumerate(self.cells):
            if stop_early and end in found:
                break
            now = self.rectify(previous)
            if self.grad_checkpointing and self.training:
                before, previous = now, checkpoint(cell, before, now, use_reentrant=False)
            else:
                before, previous = now, cell(before, now)
            found[f"cells.{index}"] = previous
        maps = [self.norm(found[name]) if norm and name == names[-1] else found[name] for name in wanted]
        complete = names[-1] in found  # the last norm is as wide as the last block
        return maps if intermediates_only else (self.norm(previous) if complete else previous, maps)

    def prune_intermediate_layers(
        self, indices: int | list[int] = 1, prune_norm: bool = False, prune_head: bool = True
    ) -> list[int]:
        """Remove what the maps of `indices` do not need: later blocks, the last norm, the classifier.

        Returns:
            The indices as numbers from the first entry of `feature_info`.
        """
        take, last = feature_take_indices(len(self.feature_info), indices)
        name = str(self.feature_info[last]["module"])
        kept = int(name.removeprefix("cells.")) + 1 if name.startswith("cells.") else 0
        if prune_norm or kept < len(self.cells):  # it is as wide as the last block
            self.norm = nn.Identity()
        self.cells = self.cells[:kept]
        if prune_head:
            self.reset_classifier(0, "")
        return list(take)

    def forward_features(self, x: Tensor) -> Tensor:
        """Images [B, in_chans, H, W] to the last features [B, num_features, H', W']."""
        return self.forward_cells(x)[0]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """Features [B, num_features, H', W'] to logits [B, num_classes], or to what the classifier reads."""
        x = self.head_drop(self.global_pool(x))
        if not pre_logits:
            x = self.classifier(x)
        return x

    def compile_cells(self) -> None:
        """Compile each cell by itself, so that equal ones are compiled once, in training and in evaluation.

        All run the same function, so torch's limit of its versions, 8, is raised to what so many cells may need.
        """
        dynamo = torch._dynamo.config  # loaded on demand
        dynamo.recompile_limit = max(dynamo.recompile_limit, 4 * len(self.cells))
        for cell in self.cells:
            cell.compile()

    def forward(self, x: Tensor) -> Tensor:
        """Images [B, in_chans, H, W] to logits [B, num_classes]."""
        return self.forward_head(self.forward_features(x))


def _feature_info(parts: skeletons.Skeleton) -> list[dict[str, Any]]:
    """The last module of each map size, in timm's form."""
    names = {"stem0": parts.stem0, "stem1": parts.stem1}
    names |= {f"cells.{index}": block for index, block in enumerate(parts.blocks)}
    last = {block.reduction: (name, block) for name, block in names.items()}
    return [
        {"num_chs": block.channels, "reduction": reduction, "module": name}
        for reduction, (name, block) in sorted(last.items())
    ]
