"""Layers shared out over processes one after the other, with micro-batches under way in all (1F1B, arXiv 2104.04473).

R sequences of this process · b sequences of a micro-batch · T position · S positions of this process · D model width
M micro-batches
"""

from contextlib import nullcontext
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B

from fromscratch.model.decoder import Decoder
from fromscratch.model.loss import IGNORED
from fromscratch.model.settings import NoPositions
from fromscratch.optim.settings import Muon, Optimizer
from fromscratch.parallel.context import gather_positions
from fromscratch.parallel.layout import micro_batches
from fromscratch.parallel.mesh import Ranks
from fromscratch.parallel.tensor import WholeHead

__all__ = ["Stage", "cut_layers", "optimizer_of_stage"]


def cut_layers(decoder: Decoder, ranks: Ranks) -> None:
    """Leave of the decoder what this process holds, under the same names, and make it a ``Stage``."""
    here, stages = ranks.place("pipeline"), ranks.layout.pipeline
    share = len(decoder.layers) // stages
    for number in range(len(decoder.layers)):
        if number // share != here:
            del decoder.layers._modules[str(number)]  # not by `del layers[number]`, which names the rest anew
    if here > 0:
        decoder.embedding = nn.Identity()  # type: ignore[assignment]  # what comes in is the stream
        decoder.position_embedding = None
        if decoder.settings.positions.kind == "sinusoidal":  # they were added in the first stage
            decoder.settings = decoder.settings.model_copy(update={"positions": NoPositions()})
    if here < stages - 1:
        decoder.final_norm = nn.Identity()  # type: ignore[assignment]  # not None: the stream stays in fp32
        decoder.head = None
    decoder.__class__ = Stage
    assert isinstance(decoder, Stage)
    decoder.ranks = ranks


class Stage(WholeHead):
    """The layers of one process in a pipeline: tokens [b, T] or the stream [b, T, D] in, the stream or a loss out."""

    ranks: Ranks
    schedule: Schedule1F1B | None = None
    scheduled_for: tuple[int, ...] = ()
    in_bf16 = False

    def forward(self, inputs: Tensor, targets_bS: Tensor | None = None, z_loss: float = 0.0) -> Tensor:  # type: ignore[override]
        device = inputs.device.type
        with torch.autocast(device, torch.bfloat16) if self.in_bf16 else nullcontext():
            if targets_bS is not None:
                return self.loss(inputs, targets_bS, z_loss=z_loss)
            return gather_positions(self.hidden(inputs), self.ranks)

    def accumulate_gradients(
        self,
        tokens_RT: Tensor,
        targets_RS: Tensor,
        scored: int,
        z_loss: float,
        micro_batch_sequences: int | None,
        in_bf16: bool,
    ) -> Tensor:
        """Add the gradient of the batch's mean loss; return the part of it that is known here."""
        device = next(self.parameters()).device
        form = (*tokens_RT.shape, micro_batch_sequences or 0)
        if self.schedule is None or form != self.scheduled_for:  # a later stage of the training has other batches
            self.in_bf16, self.scheduled_for = in_bf16, form
            self.schedule = self._scheduled(tokens_RT, micro_batch_sequences, device)
        M = self.schedule._n_microbatches
        tokens_RT, targets_RS = tokens_RT.to(device), targets_RS.to(device)
        share_M = (targets_RS != IGNORED).view(M, -1).sum(1) / scored
        losses: list[Tensor] = []
        inputs = (tokens_RT,) if self.ranks.place("pipeline") == 0 else ()
        if self.ranks.place("pipeline") < self.ranks.layout.pipeline - 1:
            self.schedule.step(*inputs, return_outputs=False)
            return torch.zeros((), device=device)
        self.schedule.step(target=share_M, losses=losses, return_outputs=False, targets_bS=targets_RS, z_loss=z_loss)
        return torch.stack(losses).detach().sum()

    def _scheduled(self, tokens_RT: Tensor, micro_batch_sequences: int | None, device: torch.device) -> Schedule1F1B:
        R, T = tokens_RT.shape
        M = micro_batches(self.ranks.layout, R, micro_batch_sequences)
        here, stages = self.ranks.place("pipeline"), self.ranks.layout.pipeline
        tokens_bT = torch.empty(R // M, T, dtype=torch.int64, device="meta")
        stream_bTD = torch.empty(R // M, T, self.settings.width, device="meta", requires_grad=True)
        assert self.ranks.weights is not None
        stage = PipelineStage(
            self,
            here,
            stages,
            device,
            input_args=tokens_bT if here == 0 else stream_bTD,
            output_args=stream_bTD if here < stages - 1 else torch.empty((), device="meta", requires_grad=True),
            group=self.ranks.weights.get_group("pipeline"),
        )
        return Schedule1F1B(stage, M, _weighted, scale_grads=False)


def _weighted(loss: Tensor, share_1: Tensor) -> Tensor:
    return loss * share_1.sum()


def optimizer_of_stage(settings: Optimizer, stage: Decoder) -> Optimizer:
    """The settings without the learning rates of parameters that other stages hold."""
    adamw = settings.rest if isinstance(settings, Muon) else settings
    names = [name for name, _ in stage.named_parameters()]
    rates = {
        pattern: rate
        for pattern, rate in adamw.learning_rates.items()
        if any(fnmatchcase(name, pattern) for name in names)
    }
    adamw = adamw.model_copy(update={"learning_rates": rates})
    return settings.model_copy(update={"rest": adamw}) if isinstance(settings, Muon) else adamw
