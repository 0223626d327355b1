"""Each equation of pretraining against a slow loop written from the paper, and against the published code's values."""

import json
import math

import numpy as np
import pytest
import torch
from published import hash01

from findna.data.augment import make_views
from findna.nn.chordmixer import ChordMixer
from findna.nn.device import FP32, Compute
from findna.nn.losses import (
    contrastive_loss,
    masked_nucleotide_loss,
    teacher_probabilities,
    update_center,
    update_teacher,
)
from findna.recipes import PretrainConfig
from findna.sizes import ModelConfig
from findna.train.trainer import Trainer

B, K, C = 3, 4, 5
RNG = np.random.default_rng(7)
STUDENT, TEACHER = RNG.normal(size=(B, K, C)), RNG.normal(size=(B, K, C))
CENTER = RNG.normal(size=(K, C))


def tensor(values):
    return torch.tensor(np.asarray(values), dtype=torch.float32)


def slow_mnm(logits, targets):
    """Equations 2 and 3 for one sequence: -sum over masked m and letters d of x[m, d] log softmax(logits[m])[d]."""
    total = 0.0
    for row, target in zip(logits, targets, strict=True):
        denominator = sum(math.exp(value) for value in row)
        for letter, value in enumerate(row):
            x = 1.0 if letter == target else 0.0
            total -= x * math.log(math.exp(value) / denominator)
    return total


def slow_student(p, temp):
    """Equation 4 for one sequence: over the K tokens, of each feature."""
    return [[math.exp(p[k][i] / temp) / sum(math.exp(p[m][i] / temp) for m in range(K)) for i in range(C)]
            for k in range(K)]  # fmt: skip


def slow_teacher(q, center, temp):
    """Equation 5 for one sequence."""
    shifted = [[q[k][i] - center[k][i] for i in range(C)] for k in range(K)]
    return slow_student(shifted, temp)


def slow_contrastive(p, q, center, student_temp, teacher_temp):
    """Equations 7 and 8 for one sequence."""
    p_hat, q_hat = slow_student(p, student_temp), slow_teacher(q, center, teacher_temp)
    return -sum(q_hat[k][i] * math.log(p_hat[k][i]) for k in range(K) for i in range(C))


def test_equations_2_and_3():
    n_masked = (4, 1, 2)
    logits = RNG.normal(size=(sum(n_masked), 5)) * 2
    targets = RNG.integers(0, 5, size=sum(n_masked))
    ends = np.cumsum(n_masked)
    per_sequence = [
        slow_mnm(logits[end - n : end], targets[end - n : end]) for n, end in zip(n_masked, ends, strict=True)
    ]
    args = tensor(logits), torch.tensor(targets, dtype=torch.uint8)
    by_sum = masked_nucleotide_loss(*args, n_sequences=3, reduction="sum")
    assert float(by_sum) == pytest.approx(sum(per_sequence) / 3, rel=1e-5)
    by_mean = masked_nucleotide_loss(*args, n_sequences=3, reduction="mean")
    assert float(by_mean) == pytest.approx(sum(per_sequence) / sum(n_masked), rel=1e-5)


def test_no_masked_base_is_a_loss_of_0():
    empty = torch.zeros(0, 5), torch.zeros(0, dtype=torch.uint8)
    for reduction in ("sum", "mean"):
        assert float(masked_nucleotide_loss(*empty, n_sequences=2, reduction=reduction)) == 0.0


@pytest.mark.parametrize("student_temp", [0.1, 1.0])
def test_equations_4_7_and_8(student_temp):
    temps = {"student_temp": student_temp, "teacher_temp": 0.04}
    expected = [slow_contrastive(p, q, CENTER, student_temp, 0.04) for p, q in zip(STUDENT, TEACHER, strict=True)]
    args = tensor(STUDENT), tensor(TEACHER), tensor(CENTER)
    assert float(contrastive_loss(*args, **temps, reduction="sum")) == pytest.approx(np.mean(expected), rel=1e-5)
    assert float(contrastive_loss(*args, **temps, reduction="mean")) == pytest.approx(np.mean(expected) / C, rel=1e-5)


def test_equation_5():
    found = teacher_probabilities(tensor(TEACHER), tensor(CENTER), teacher_temp=0.04)
    expected = [slow_teacher(q, CENTER, 0.04) for q in TEACHER]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose(found.sum(dim=1), np.ones((B, C)), rtol=1e-5)


def test_the_contrast_over_features_exchanges_tokens_and_features():
    """The softmax of the published code: over the features of each token; tokens are added or averaged."""
    expected = 0.0
    for b in range(B):
        for k in range(K):
            p_sum = sum(math.exp(STUDENT[b][k][i] / 0.1) for i in range(C))
            q_sum = sum(math.exp((TEACHER[b][k][i] - CENTER[k][i]) / 0.04) for i in range(C))
            for i in range(C):
                q_hat = math.exp((TEACHER[b][k][i] - CENTER[k][i]) / 0.04) / q_sum
                expected -= q_hat * math.log(math.exp(STUDENT[b][k][i] / 0.1) / p_sum) / B
    args = tensor(STUDENT), tensor(TEACHER), tensor(CENTER)
    temps = {"student_temp": 0.1, "teacher_temp": 0.04, "contrast": "features"}
    assert float(contrastive_loss(*args, **temps, reduction="sum")) == pytest.approx(expected, rel=1e-5)
    assert float(contrastive_loss(*args, **temps, reduction="mean")) == pytest.approx(expected / K, rel=1e-5)
    over_features = teacher_probabilities(*args[1:], teacher_temp=0.04, contrast="features")
    np.testing.assert_allclose(over_features.sum(dim=2), np.ones((B, K)), rtol=1e-5)


def test_equation_6():
    center = tensor(CENTER)
    update_center(center, tensor(TEACHER), center_momentum=0.996)
    for k in range(K):
        for i in range(C):
            mean = sum(TEACHER[b][k][i] for b in range(B)) / B
            assert float(center[k, i]) == pytest.approx(0.996 * CENTER[k][i] + 0.004 * mean, abs=1e-6)


def test_equation_9():
    config = ModelConfig(channels=4, hidden=3, track_width=2, n_layers=1, max_len=4, n_class_tokens=1)
    teacher, student = ChordMixer(config), ChordMixer(config)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    update_teacher(teacher, student, momentum=0.9)
    for name, value in student.state_dict().items():
        expected = 0.9 * before[name].double() + 0.1 * value.double()
        np.testing.assert_allclose(teacher.state_dict()[name], expected, atol=1e-6)
        assert not torch.equal(before[name], teacher.state_dict()[name])


@pytest.mark.parametrize("alpha", [0.0, 0.25, 0.5])
def test_equation_1(alpha):
    model = ModelConfig(channels=6, hidden=5, track_width=2, n_layers=1, max_len=16, n_class_tokens=3)
    config = PretrainConfig(model=model, alpha=alpha, max_indel=2)
    trainer = Trainer(config, compute=Compute(torch.device("cpu"), FP32))
    rngs = [np.random.default_rng(i) for i in range(3)]
    views = make_views([rng.integers(0, 4, size=12, dtype=np.uint8) for rng in rngs], rngs, config)
    losses = trainer.losses(views)
    expected = alpha * float(losses.mnm) + (1 - alpha) * float(losses.contrastive)
    assert float(losses.total.detach()) == pytest.approx(expected, rel=1e-6)
    assert float(losses.mnm) > 0
    assert float(losses.contrastive) > 0


def test_only_the_student_receives_a_gradient():
    p, q, center = (tensor(values).requires_grad_() for values in (STUDENT, TEACHER, CENTER))
    contrastive_loss(p, q, center.detach(), student_temp=0.1, teacher_temp=0.04, reduction="sum").backward()
    assert q.grad is None
    expected = np.zeros((B, K, C))  # of cross-entropy by a softmax: (p_hat - q_hat) / temperature
    for b in range(B):
        p_hat, q_hat = np.array(slow_student(STUDENT[b], 0.1)), np.array(slow_teacher(TEACHER[b], CENTER, 0.04))
        expected[b] = (p_hat - q_hat) / 0.1 / B
    np.testing.assert_allclose(p.grad, expected, atol=1e-5)


def test_other_shapes_are_refused():
    p, q, center = tensor(STUDENT), tensor(TEACHER), tensor(CENTER)
    temps = {"student_temp": 0.1, "teacher_temp": 0.04, "reduction": "sum"}
    with pytest.raises(ValueError, match="cannot be combined"):
        contrastive_loss(p, q[:2], center, **temps)
    with pytest.raises(ValueError, match="cannot be combined"):
        contrastive_loss(p, q, center.T, **temps)
    with pytest.raises(ValueError, match="must be positive"):
        contrastive_loss(p, q, center, **temps | {"teacher_temp": 0.0})


def test_two_steps_of_the_published_code_are_met_with_the_contrast_over_features(shared):
    """The published code takes its softmax over the channels of a token; equations 4 and 5 take it over tokens.

    Its center has a momentum of 0.9. Its masked loss is a binary cross-entropy at scrambled positions and has no
    counterpart here.
    """
    golden = json.loads((shared / "golden" / "golden_loss.json").read_text())

    def drawn(p):
        values = (2 * hash01(3 * 74 * 5, p) - 1).astype(np.float32).reshape(3, 74, 5)
        return torch.from_numpy(values[:, 64:])  # class tokens, (B, K, C)

    student, center = drawn(1000), torch.zeros(10, 5)
    for step, p in zip(golden["steps"], (1001, 1002), strict=True):
        teacher = drawn(p)
        temps = {"student_temp": golden["student_temp"], "teacher_temp": 0.04}
        loss = contrastive_loss(student, teacher, center, **temps, reduction="mean", contrast="features")
        assert float(loss) == pytest.approx(step["cls"], rel=1e-6)
        update_center(center, teacher, center_momentum=golden["center_momentum"])
        np.testing.assert_allclose(center.flatten(), step["center_after"], rtol=0, atol=1e-7)
