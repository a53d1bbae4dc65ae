"""How much the loss depends on each operation of a trained supernet: the decoding `sensitivity`.

Let y be a node's output, G the gradient of an image's loss by it, F_e the output of candidate e on
an edge, w_e its weight there and y_edge the edge's mixture. Without e, the others' weights of the
edge scaled up to sum to 1, the edge would change by w_e / (1 - w_e) (y_edge - F_e). To first order
the loss of a patch changes by d_e = <G, w_e / (1 - w_e) (y_edge - F_e)>. Its mean over images is
the architecture's own gradient and as noisy. The score of an operation is the mean of d_e^2 over
images and patches, a Fisher information, divided by the edge's sum within each cell.

Source: our reading, docs/method.md; importance by Fisher information is IS-DARTS, arXiv 2312.12648.
"""

from collections.abc import Iterable

import torch
from torch import Tensor
from torch.nn import functional as F

from midas.decode.decode import NodeWeights, Samples, join_batches, patch_mean
from midas.search.methods.base import ArchWeights, Method, Mixed, NodeSpec, Tensors
from midas.search.mixed_op import patch_means, plain_mixed_op
from midas.search.supernet import Supernet


class SensitivityProbe(Method):
    """Notes the d_e^2 of another method's weights when gradients reach a node's output."""

    def __init__(self, method: Method) -> None:
        super().__init__()
        self.method = method
        self.scores: dict[str, NodeWeights] = {}  # by the node's name, of the last batch

    def begin_pass(self) -> None:
        self.method.begin_pass()

    def begin_cell(self) -> None:
        self.method.begin_cell()

    def mixed_op(self, node: NodeSpec, inputs: Tensors, op_outputs: Tensors) -> Mixed:
        arch_weights: ArchWeights = self.method(node, inputs, op_outputs)
        output = plain_mixed_op(op_outputs, arch_weights.mixing, arch_weights.patch)
        output.register_hook(lambda gradient: self._note(node, op_outputs, arch_weights, gradient))
        return output, arch_weights

    @torch.no_grad()
    def _note(
        self, node: NodeSpec, op_outputs: Tensors, arch_weights: ArchWeights, gradient: Tensor
    ) -> None:
        """Score a node's operations from the gradient of the loss by its output, [B, C, H, W]."""
        weights = arch_weights.op_weights  # [B or 1, Ph, Pw, n, m]
        scores = torch.zeros_like(weights.expand(len(gradient), *weights.shape[1:]))
        products = torch.cat([(gradient * x).sum(1, keepdim=True) for x in op_outputs], dim=1)
        # <G, F_e> over each patch, up to its number of pixels: [B, E, H, W] -> [B, Ph, Pw, E]
        products = patch_means(products, arch_weights.patch)
        for i, product in enumerate(products.split(node.op_counts, dim=-1)):
            count = product.shape[-1]
            share = weights[..., i, :count]
            mixture = (share * product).sum(-1, keepdim=True)
            change = share / (1 - share).clamp_min(1e-6) * (mixture - product)
            scores[..., i, :count] = change.square() if count > 1 else 1
        self.scores[node.name] = patch_mean(ArchWeights(scores, scores, arch_weights.pair_probs))


def sensitivities(
    supernet: Supernet, method: Method, batches: Iterable[tuple[Tensor, Tensor]]
) -> Samples:
    """The d_e^2 of every operation for each sample, averaged over patches: scores for weights.

    Batches are normalised images [B, 3, H, W] and labels [B]; batch norm uses the statistics of
    each of them. The supernet's weights require gradients afterwards.
    """
    was_training = method.training
    method.eval()
    probe = SensitivityProbe(method)
    supernet.requires_grad_(False)
    device = next(supernet.parameters()).device
    cells = supernet.search_cells
    seen = []
    for images, labels in batches:
        images = images.to(device).requires_grad_()  # the graph needs a leaf; weights are none
        logits, _ = supernet(images, probe)
        F.cross_entropy(logits, labels.to(device), reduction="sum").backward()
        seen.append([[probe.scores[node.name] for node in cell.node_specs] for cell in cells])
    supernet.requires_grad_(True)
    method.train(was_training)
    return join_batches(supernet, seen)
