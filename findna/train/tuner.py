"""Encoder, head and optimizer of one fine-tuning: batches, updates, validation, state."""

import contextlib
import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from findna import phases
from findna.data.labelled import LabelledSet
from findna.data.windows import Windows
from findna.encode import Work, embed_windows, features_of, pack_windows, strands_of
from findna.errors import TrainingError
from findna.nn.device import Compute
from findna.nn.encoder import Encoder
from findna.nn.heads import Head
from findna.recipes import FinetuneConfig
from findna.train.checkpoint import check_same_shapes
from findna.train.loop import check_finite
from findna.train.objectives import balanced_weights, loss_of, quality, ranking, simple_accuracy
from findna.train.probe import PENALTIES, Fit, fit_probe
from findna.train.scoring import join_scores, score
from findna.train.start import Targets, TaskSplit, make_head, make_network, settings_of

MICRO_BASES = {"cpu": 16384, "cuda": 131072}
"""Bases per forward pass; the gradients of a larger batch are accumulated."""

PROBE_WINDOWS = 32768
"""Maximum training windows that a fine-tuning of all weights embeds first, to scale its features and fit its probe."""


def _begins_as_probe(config: FinetuneConfig) -> bool:
    return not config.frozen and config.head == "linear"


def _rate_share(name: str, config: FinetuneConfig, *, depth: int) -> float:
    """Learning rate of a parameter, as a fraction of that of the last block."""
    part, *rest = name.split(".")
    if part == "head":
        return config.head_rate if _begins_as_probe(config) else 1.0
    n_after = depth - 1 - int(rest[1]) if rest[0] == "blocks" else depth
    return config.layer_decay**n_after


START_PENALTY = 0.1
"""Of the probe whose weights the head starts from when all weights are trained."""


class LabelledBatch(NamedTuple):
    """The input of one update.

    Args:
        epoch: Pass over the windows.
        indices: Windows of the batch.
        parts: (windows, their features or packed codes), each of which fits in memory.
    """

    epoch: int
    indices: NDArray[np.int64]
    parts: list[tuple[NDArray[np.int64], Tensor | Work]]


class Tuner:
    """Encoder, head and optimizer of one run.

    Args:
        config: The recipe.
        teacher: The initial encoder.
        train: Training split.
        valid: Validation split.
        compute: Where and how it runs.
    """

    def __init__(
        self, config: FinetuneConfig, teacher: Encoder, *, train: LabelledSet, valid: LabelledSet, compute: Compute
    ) -> None:
        self.config, self.compute, self.device = config, compute, compute.device
        network = make_network(config, teacher)
        self.settings = settings_of(config, network.config, train)
        self.network = network.to(self.device).requires_grad_(not config.frozen)
        self.network.head.requires_grad_(False)
        self.head = make_head(config, network.config, self.settings).to(self.device)
        self.labels = Targets(train)
        self.train = TaskSplit(train, self.settings, self.labels)
        self.valid = TaskSplit(valid, self.settings, self.labels)
        weights = balanced_weights(train) if config.class_weights == "balanced" else None
        self.class_weights = None if weights is None else weights.to(self.device)
        self.modules = {"head": self.head} if config.frozen else {"network": self.network, "head": self.head}
        named = {
            f"{part}.{name}": parameter
            for part, module in self.modules.items()
            for name, parameter in module.named_parameters()
            if parameter.requires_grad
        }
        self.parameters = named
        self.peak_rate = config.rate_for(network.config.channels)
        phases.enter("preparing the training")  # torch loads its compiler for an optimizer
        self.optimizer = torch.optim.AdamW(
            [
                {
                    "params": [parameter],
                    "weight_decay": config.weight_decay if parameter.ndim > 1 else 0.0,
                    "share": _rate_share(name, config, depth=len(network.blocks)),
                }
                for name, parameter in named.items()
            ]
        )
        for parameter in named.values():  # so that a checkpoint can be read before the first step
            self.optimizer.state[parameter] = {
                "step": torch.zeros(()),
                "exp_avg": torch.zeros_like(parameter),
                "exp_avg_sq": torch.zeros_like(parameter),
            }
        self.best = self.weights()
        self.fits: list[Fit] = []
        self._start: dict[str, Tensor] = {}

    @property
    def begins_as_probe(self) -> bool:
        """Whether `prepare` fits the head, so that there is a probe before the first update."""
        return _begins_as_probe(self.config)

    @property
    def n_windows(self) -> int:
        """Windows to train on."""
        return self.train.windows.n

    @property
    def steps_per_epoch(self) -> int:
        """Number of updates per epoch."""
        return -(-self.n_windows // self.config.batch_size)

    def prepare(self, on_done: Callable[[int, int], None]) -> None:
        """Embed both splits, standardise the features, and fit a linear head to them, the probe.

        When all weights are trained, a linear head is the best probe until `begin`: a head that starts from zero
        damages the encoder with its first gradients (Kumar et al. 2022, arXiv:2202.10054), and so do the
        large weights of a probe with a weak penalty. With a frozen encoder, the features are kept.

        Args:
            on_done: Called with the number of windows so far, and of all.
        """
        encoder = self.network.for_inference(self.compute)
        chosen = np.arange(self.n_windows)
        if not self.config.frozen:
            rng = np.random.default_rng((self.config.seed, self.n_windows))
            chosen = np.sort(rng.permutation(self.n_windows)[:PROBE_WINDOWS])
        windows = self.train.windows._replace(
            **{name: values[chosen] for name, values in self.train.windows._asdict().items()}
        )
        options = self._strand_options()
        shares = [share for option in options for share in self._turned_shares(option)]
        todo = [(self.train, windows, is_turned) for is_turned in (False, True) if any(shares[is_turned::2])]
        turned = {is_turned for option in options for is_turned in strands_of(option)}
        todo += [(self.valid, self.valid.windows, is_turned) for is_turned in sorted(turned)]
        total, n_before = sum(part.n for _, part, _ in todo), 0
        features: dict[tuple[TaskSplit, bool], Tensor] = {}
        for split, part, is_turned in todo:
            show = functools.partial(_add_to, on_done, n_before, total)
            features[split, is_turned] = self._embed(encoder, split, part, show, is_turned)
            n_before += part.n
        if len(options) > 1:
            options = [max(options, key=lambda option: self._quality_of(option, features, chosen))]
        self._fit(options[0], features, chosen, PENALTIES)
        if self.begins_as_probe:
            best = self.weights()
            self._fit(options[0], features, chosen, (START_PENALTY,))
            self._start = {name: value.clone() for name, value in self.head.state_dict().items()}
            self._fill(best)
        if not self.config.frozen:
            self.train.features, self.valid.features = [], []

    @property
    def has_both_strands(self) -> bool:
        """Whether sequences are read on both strands."""
        return self.config.strand != "bed" or self.config.reverse_complement > 0

    def _strand_options(self) -> list[str]:
        """The strands to try; only a probe can choose a strand before the training."""
        if self.config.strand != "auto":
            return [self.config.strand]
        return ["bed", "both"] if self.config.head == "linear" else ["bed"]

    def _turned_shares(self, strand: str) -> tuple[float, float]:
        """The fractions of the training sequences to read as given, and on the other strand."""
        p = self.config.reverse_complement or (0.5 if strand == "both" else 0.0)
        return 1 - p, p

    def _quality_of(
        self, strand: str, features: Mapping[tuple[TaskSplit, bool], Tensor], chosen: NDArray[np.int64]
    ) -> tuple[float, float]:
        """The quality of the best probe on this strand."""
        self._fit(strand, features, chosen, PENALTIES)
        return max(quality(fit._asdict(), self.config.select) for fit in self.fits)

    def _fit(
        self,
        strand: str,
        features: Mapping[tuple[TaskSplit, bool], Tensor],
        chosen: NDArray[np.int64],
        penalties: Sequence[float],
    ) -> None:
        """Use this strand: standardise the features of these training windows, and fit a linear head to them."""
        self.settings = dataclasses.replace(self.settings, strand=strand)
        shares = self._turned_shares(strand)
        self.train.features = [features[self.train, is_turned] for is_turned in (False, True) if shares[is_turned]]
        self.valid.features = [features[self.valid, is_turned] for is_turned in strands_of(strand)]
        share = torch.from_numpy(self.train.windows.share)[torch.from_numpy(chosen)]
        self.head.standardise(torch.cat(self.train.features), share.repeat(len(self.train.features)))
        if self.head.fc1 is None:
            self.fits = self._fit_probe(torch.from_numpy(chosen), penalties)

    def begin(self) -> None:
        """Replace the best probe by the one with a strong penalty, from which the training of all weights starts."""
        self.head.load_state_dict(self._start)

    def _fit_probe(self, chosen: Tensor, penalties: Sequence[float]) -> list[Fit]:
        """Fit the head on the features of these training windows; returns all fits, in order."""
        weights = [weight for weight in self._turned_shares(self.settings.strand) if weight]
        shares = torch.from_numpy(self.train.windows.share).float()[chosen]
        targets = self.train.window_targets[chosen]
        return fit_probe(
            self.head,
            torch.cat(self.train.features),
            targets.repeat(len(weights), *[1] * (targets.ndim - 1)),
            weights=torch.cat([shares * weight for weight in weights]),
            objective=self.settings.objective,
            measure=self.validate,
            select=self.config.select,
            class_weights=None if self.class_weights is None else self.class_weights.cpu(),
            penalties=penalties,
        )

    def _embed(
        self,
        encoder: Encoder,
        split: TaskSplit,
        windows: Windows,
        on_done: Callable[[int], None],
        is_turned: bool = False,
    ) -> Tensor:
        features = embed_windows(
            encoder,
            split.corpus,
            windows,
            settings=self.settings,
            compute=self.compute,
            is_turned=is_turned,
            on_done=on_done,
        )
        if not features.isfinite().all():
            raise TrainingError(
                "the teacher's vectors are not finite: `findna model verify` tells whether it is damaged"
            )
        return features

    def batches(self, start: int, total: int) -> Iterator[LabelledBatch]:
        """Yield the batches of the updates from `start` to `total`; each depends only on (seed, epoch, window)."""
        config = self.config
        for epoch in range(start // self.steps_per_epoch, -(-total // self.steps_per_epoch)):
            order = np.random.default_rng((config.seed, epoch)).permutation(self.n_windows)
            draws = np.random.default_rng((config.seed, epoch, 1)).random(self.n_windows)
            is_turned = draws < self._turned_shares(self.settings.strand)[True]
            first = epoch * self.steps_per_epoch
            for step in range(max(start, first), min(total, first + self.steps_per_epoch)):
                place = (step - first) * config.batch_size
                indices = order[place : place + config.batch_size]
                yield LabelledBatch(epoch, indices, list(self._parts(indices, is_turned)))

    def _parts(
        self, indices: NDArray[np.int64], is_turned: NDArray[np.bool_]
    ) -> Iterator[tuple[NDArray[np.int64], Tensor | Work]]:
        if self.config.frozen:
            chosen = torch.from_numpy(indices)
            strands = [features[chosen] for features in self.train.features]
            turned = torch.from_numpy(is_turned[indices])[:, None]
            yield indices, torch.where(turned, strands[-1], strands[0])
            return
        works = pack_windows(
            self.train.corpus,
            self.train.windows,
            indices,
            n_class_tokens=self.settings.n_class_tokens,
            is_turned=is_turned,
            max_bases=MICRO_BASES.get(self.device.type, MICRO_BASES["cpu"]),
        )
        for work in works:
            yield work.indices, work

    def update(self, batch: LabelledBatch, *, step: int, rate: float) -> dict[str, float]:
        """One step of AdamW on one batch.

        Raises:
            TrainingError: The loss or its gradient is not finite; nothing was updated.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["share"]
        self.optimizer.zero_grad(set_to_none=True)
        share = torch.from_numpy(self.train.windows.share).float()
        total = float(share[torch.from_numpy(batch.indices)].sum())
        loss = 0.0
        with _dropout_seed(self.device, self.config.seed, step):
            for indices, item in batch.parts:
                chosen = torch.from_numpy(indices)
                outputs = self._outputs(item)
                targets = self.train.window_targets[chosen].to(self.device)
                losses = loss_of(outputs, targets, self.settings.objective, class_weights=self.class_weights)
                part = (losses * share[chosen].to(self.device)).sum() / total
                part.backward()  # type: ignore[no-untyped-call]
                loss += part.item()
        grad_norm = float(torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.clip or math.inf))
        check_finite(loss, grad_norm)
        self.optimizer.step()
        return {"loss": loss, "grad_norm": grad_norm}

    def _outputs(self, item: Tensor | Work) -> Tensor:
        self.head.train()
        if isinstance(item, Tensor):
            return self.head(item.to(self.device))  # type: ignore[no-any-return]
        features = features_of(
            self.network, item, self.settings, compute=self.compute, dropout=self.config.mixer_dropout
        )
        return self.head(features)  # type: ignore[no-any-return]

    def validate(self, head: Head | None = None) -> dict[str, float]:
        """Loss (with class weights), accuracy and AUROC of the validation split, windows joined."""
        scores = self.scores(self.valid, self.network, head or self.head)
        weights = None if self.class_weights is None else self.class_weights.cpu().double()
        targets = self.valid.targets if self.valid.targets.dtype == torch.int64 else self.valid.targets.double()
        losses = loss_of(torch.from_numpy(scores), targets, self.settings.objective, class_weights=weights)
        if weights is not None and self.settings.objective == "classification":
            loss = float(losses.sum() / weights[targets].sum())
        else:
            loss = float(losses.mean())
        if not math.isfinite(loss):
            raise TrainingError(f"diverged: the validation loss is {loss}; lower learning_rate and start again")
        labels, objective = self.valid.labels, self.settings.objective
        return {
            "valid_loss": loss,
            "valid_accuracy": simple_accuracy(scores, labels, objective),
            "valid_auroc": ranking(scores, labels, objective),
        }

    def scores(self, split: TaskSplit, network: Encoder, head: Head) -> NDArray[np.float64]:
        """Joined scores of a split, from its features if they are known."""
        phases.enter("measuring the splits")
        if split.features:
            n, objective = len(split.labels), self.settings.objective
            return join_scores(head, split.features, split.windows, n=n, objective=objective)
        return score(network, head, split.corpus, settings=self.settings, compute=self.compute)

    def weights(self) -> dict[str, Tensor]:
        """A copy of the trained weights, and of center and scale of the head."""
        return {
            f"{part}.{name}": value.detach().cpu().clone()
            for part, module in self.modules.items()
            for name, value in module.state_dict().items()
        }

    def restore_best(self) -> None:
        """Restore the best weights."""
        self._fill(self.best)

    def _fill(self, weights: Mapping[str, Tensor]) -> None:
        for part, module in self.modules.items():
            prefix = f"{part}."
            module.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})

    def tensors(self) -> dict[str, Tensor]:
        """All tensors for a resume, by name."""
        state = {f"now.{name}": value for name, value in self.weights().items()}
        state |= {f"best.{name}": value for name, value in self.best.items()}
        for name, parameter in self.parameters.items():
            for moment, value in self.optimizer.state[parameter].items():
                state[f"{moment}.{name}"] = value.detach().cpu()
        return state

    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Restore `tensors()` of an earlier run.

        Raises:
            TrainingError: They are of another network.
        """
        check_same_shapes(self.tensors(), tensors)
        self._fill({k.removeprefix("now."): v for k, v in tensors.items() if k.startswith("now.")})
        self.best = {k.removeprefix("best."): v.clone() for k, v in tensors.items() if k.startswith("best.")}
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                for moment, value in self.optimizer.state[parameter].items():
                    value.copy_(tensors[f"{moment}.{name}"])


@contextlib.contextmanager
def _dropout_seed(device: torch.device, seed: int, step: int) -> Iterator[None]:
    """Let dropout depend only on (seed, step), and restore the random generators of the process."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(int(np.random.SeedSequence((seed, step)).generate_state(1)[0]))
        yield


def _add_to(on_done: Callable[[int, int], None], n_before: int, total: int, n_done: int) -> None:
    on_done(n_before + n_done, total)
