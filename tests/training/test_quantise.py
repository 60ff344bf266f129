import pytest

torch = pytest.importorskip("torch")

from draftproof.training.quantise import GPTQConfig, affine_grid, gptq, round_to_nearest  # noqa: E402


def _layer(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(64, 64, generator=generator)
    inputs = torch.randn(512, 64, generator=generator) @ mixing  # correlated, as real inputs are
    return torch.randn(48, 64, generator=generator), inputs


@pytest.mark.parametrize("seed", range(5))
def test_gptq_beats_round_to_nearest_on_the_output(seed: int) -> None:
    weight, inputs = _layer(seed)
    config = GPTQConfig()
    gram = inputs.T @ inputs
    wanted = inputs @ weight.T
    error = (inputs @ gptq(weight, gram, config).T - wanted).pow(2).mean()
    nearest = (inputs @ round_to_nearest(weight, config).T - wanted).pow(2).mean()
    assert error < 0.7 * nearest


def test_white_inputs_leave_nothing_to_compensate() -> None:
    weight, _ = _layer(0)
    config = GPTQConfig(damping=0.0)
    quantised = gptq(weight, torch.eye(64), config)
    torch.testing.assert_close(quantised, round_to_nearest(weight, config))


def test_every_group_uses_at_most_sixteen_values_a_row() -> None:
    weight, inputs = _layer(1)
    quantised = gptq(weight, inputs.T @ inputs, GPTQConfig(group_size=32))
    for row in quantised:
        assert len(row[:32].unique()) <= 16
        assert len(row[32:].unique()) <= 16


def test_an_input_that_is_always_zero_gets_no_weight() -> None:
    weight, inputs = _layer(2)
    inputs[:, 7] = 0.0
    quantised = gptq(weight, inputs.T @ inputs, GPTQConfig())
    assert torch.isfinite(quantised).all()
    assert (quantised[:, 7] == 0).all()


def test_zero_lies_on_every_grid() -> None:
    block = torch.tensor([[1.0, 2.0, 3.0], [-3.0, -2.0, -1.0], [0.0, 0.0, 0.0]])
    scale, zero = affine_grid(block, 4)
    assert ((zero >= 0) & (zero <= 15)).all()
    assert (scale > 0).all()
