import subprocess
import sys

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tabular_automl.core.budget import Budget  # noqa: E402
from tabular_automl.core.errors import (  # noqa: E402
    AutoMLError,
    NotFittedError,
    OutOfMemoryError,
    OutOfTimeError,
)
from tabular_automl.data.table import FeatureTable, Samples  # noqa: E402
from tabular_automl.data.task import ProblemType, Task  # noqa: E402
from tabular_automl.models import neural, neural_training  # noqa: E402
from tabular_automl.models.base import FittedSpec, Setting  # noqa: E402
from tabular_automl.models.neural import NeuralNetwork  # noqa: E402
from tabular_automl.models.neural_modules import (  # noqa: E402
    Block,
    NetworkShape,
    StackedNetwork,
    row_losses,
)
from tabular_automl.models.trial import (  # noqa: E402
    BINARY,
    MULTICLASS,
    REGRESSION,
    TASKS,
    Trial,
)
from tests.clocks import FakeClock  # noqa: E402

QUICK = NeuralNetwork.Params(n_epochs=30, width=32, n_layers=2, n_members=2, device="cpu")
FOREVER = Budget.unlimited()


def make_setting(task, seed=0, n_threads=1, loss=None):
    return Setting(
        task,
        loss or ("log_loss" if task.is_classification else "squared_error"),
        seed=seed,
        n_threads=n_threads,
    )


def make_model(task, seed=0, n_threads=1, loss=None, **params):
    quick = NeuralNetwork.Params(**{**QUICK.to_dict(), **params})
    return NeuralNetwork(quick, make_setting(task, seed, n_threads, loss))


def make_numbers(n_rows, n_columns=4, seed=0):
    rng = np.random.default_rng(seed)
    numeric = rng.normal(size=(n_rows, n_columns)).astype(np.float32)
    return FeatureTable(
        numeric, np.empty((n_rows, 0), np.int32), tuple(f"x{i}" for i in range(n_columns))
    )


def torch_outputs(model, x):
    """Predict with the exported arrays put back into the torch network, factors taken out."""
    arrays = model._arrays
    n_members, _, width = arrays["weight_0"].shape
    shape = NetworkShape(
        n_nets=n_members,
        n_inputs=x.shape[1],
        n_wavy=len(model._wavy),
        n_frequencies=model._chosen.n_frequencies,
        width=width,
        n_layers=model.params.n_layers,
        n_outputs=model.setting.task.n_outputs,
    )
    wavy = torch.from_numpy(np.tile(model._wavy, (n_members, 1)))
    net = StackedNetwork(shape, wavy, model.activation)
    unit = net.export  # arrays of a network whose parameters are all one show the factors
    for parameter in net.parameters.values():
        parameter.data.fill_(1.0)
    factors = unit()
    for name, parameter in net.parameters.items():
        if name in arrays:
            parameter.data.copy_(torch.from_numpy(arrays[name] / factors[name]))
    with torch.no_grad():
        return net(torch.from_numpy(np.tile(x, (n_members, 1, 1)))).numpy()


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type.value)
def test_numpy_and_torch_agree_on_the_outputs(task):
    trial = Trial.make(task)
    model = make_model(task, n_members=2).fit(trial.train, trial.valid, FOREVER)
    x = model._encoder.transform(trial.test.table)
    expected = torch_outputs(model, x)
    assert np.allclose(model.outputs(x), expected, atol=1e-4)


def test_the_topics_of_a_text_weigh_as_one_number():
    numbers = make_numbers(200)
    names = ("age", "text:topic0", "text:topic1", "text:topic2")
    table = FeatureTable(numbers.numeric, numbers.codes, names)
    train = Samples(table, numbers.numeric[:, 0].astype(np.float64))
    scale = make_model(REGRESSION, n_epochs=3).fit(train, train, FOREVER)._encoder.scale
    assert scale[1] == scale[2] == scale[3]
    assert scale[1] < 0.7 * scale[0]


def test_folds_trained_together_equal_folds_trained_alone():
    trial = Trial.make(BINARY)
    folds = [(trial.train, trial.valid), (trial.train.take(np.arange(20, 160)), trial.valid)]
    settings = [make_setting(BINARY, seed=seed) for seed in (3, 3)]
    # An odd number of members: an even one is trained as two halves in a single fold.
    values = QUICK.to_dict() | {"batch_size": 64, "n_members": 3}
    params = NeuralNetwork.Params.from_dict(values)
    alone = NeuralNetwork(params, settings[0]).fit(*folds[0], FOREVER)
    together = NeuralNetwork.fit_folds(params, settings, folds, FOREVER)
    expected = alone.predict(trial.test.table)
    assert np.allclose(together[0].predict(trial.test.table), expected, atol=1e-4)
    assert not np.allclose(together[1].predict(trial.test.table), expected, atol=1e-4)


def test_the_halves_of_a_single_fold_have_seeds_and_best_epochs_of_their_own():
    trial = Trial.make(REGRESSION)
    model = make_model(REGRESSION, n_members=4).fit(trial.train, trial.valid, FOREVER)
    weights = model._arrays["weight_1"]
    assert len(weights) == 4
    assert len(np.unique(weights[:, 0, 0])) == 4
    again = make_model(REGRESSION, n_members=4, n_threads=1)
    again.fit(trial.train, trial.valid, FOREVER)
    x = trial.test.table
    np.testing.assert_array_equal(again.predict(x), model.predict(x))


def test_threads_that_share_the_folds_change_nothing():
    trial = Trial.make(REGRESSION)
    folds = [(trial.train, trial.valid)] * 3
    predictions = []
    for n_threads in (1, 2):
        settings = [make_setting(REGRESSION, seed, n_threads) for seed in range(3)]
        models = NeuralNetwork.fit_folds(QUICK, settings, folds, FOREVER)
        predictions.append([model.predict(trial.test.table) for model in models])
    assert np.allclose(*predictions, atol=1e-4)


def test_the_number_of_torch_threads_is_as_before():
    before = torch.get_num_threads()
    trial = Trial.make(BINARY)
    make_model(BINARY, n_threads=2, n_epochs=3).fit(trial.train, trial.valid, FOREVER)
    assert torch.get_num_threads() == before


def test_folds_of_unequal_size_and_width_train_together():
    trial = Trial.make(MULTICLASS)
    few = trial.train.take(np.flatnonzero(trial.train.table.codes[:, 0] == 3)[:12])
    folds = [(trial.train, trial.valid), (few, trial.test)]
    settings = [make_setting(MULTICLASS, seed) for seed in range(2)]
    models = NeuralNetwork.fit_folds(QUICK, settings, folds, FOREVER)
    assert models[0]._arrays["weight_0"].shape[1] > models[1]._arrays["weight_0"].shape[1]
    for model in models:
        assert np.isfinite(model.predict(trial.test.table)).all()


def test_folds_that_do_not_fit_into_memory_together_are_refused(monkeypatch):
    trial = Trial.make(BINARY)
    folds = [(trial.train, trial.valid)] * 3
    settings = [make_setting(BINARY, seed) for seed in range(3)]
    monkeypatch.setattr(neural, "free_bytes", lambda: 1_000)
    with pytest.raises(OutOfMemoryError, match=r"the other 2 folds would need .* GB of memory"):
        NeuralNetwork.fit_folds(QUICK, settings, folds, FOREVER)
    NeuralNetwork.fit_folds(QUICK, settings[:1], folds[:1], FOREVER)


@pytest.mark.parametrize("n_members", [1, 3])
def test_members_are_averaged(n_members):
    trial = Trial.make(REGRESSION, "numeric")
    model = make_model(REGRESSION, n_members=n_members).fit(trial.train, trial.valid, FOREVER)
    assert len(model._arrays["weight_0"]) == n_members
    x = model._encoder.transform(trial.test.table)
    mean = model.outputs(x).mean(axis=0)
    low, high = trial.train.y.min(), trial.train.y.max()
    assert np.allclose(model.predict(trial.test.table), mean.clip(low, high))


def test_pieces_of_a_number_follow_jumps_that_a_smooth_network_misses():
    table = make_numbers(600, n_columns=1)
    y = np.where(np.floor(3 * table.numeric[:, 0]) % 2 == 0, 1.0, -1.0)
    train, test = (Samples(table, y).take(np.arange(*ends)) for ends in ((0, 400), (400, 600)))

    def error(n_knots):
        model = make_model(REGRESSION, n_frequencies=0, n_knots=n_knots).fit(train, None, FOREVER)
        return np.mean((model.predict(test.table)[:, 0] - test.y) ** 2)

    assert error(n_knots=32) < 0.5 * error(n_knots=0)


def test_absolute_error_is_not_moved_by_a_few_far_targets():
    table = make_numbers(300)
    y = np.zeros(300)
    y[:30] = 20.0  # in no relation to the features
    rows = np.random.default_rng(0).permutation(300)
    samples = Samples(table, y[rows])
    means = {}
    for loss in ("squared_error", "absolute_error"):
        model = make_model(REGRESSION, loss=loss, dropout=0.0, weight_decay=0.5)
        means[loss] = model.fit(samples, samples, FOREVER).predict(table).mean()
    assert means["absolute_error"] < 0.5 * means["squared_error"]


def test_regression_stays_within_the_range_of_the_target():
    trial = Trial.make(REGRESSION)
    model = make_model(REGRESSION).fit(trial.train, trial.valid, FOREVER)
    far = FeatureTable(
        np.full((2, 5), 1e6, np.float32), np.zeros((2, 2), np.int32), n_levels=(6, 5)
    )
    prediction = model.predict(far)
    assert (prediction <= trial.train.y.max()).all()
    assert (prediction >= trial.train.y.min()).all()


def test_the_epoch_kept_is_the_best_on_validation_rows():
    """Validation labels turned round make every epoch worse than the one before."""
    trial = Trial.make(BINARY)
    against = Samples(trial.valid.table, 1 - trial.valid.y)
    model = make_model(BINARY).fit(trial.train, against, FOREVER)
    assert model._epoch < 5


def test_training_stops_when_no_epoch_gets_better():
    trial = Trial.make(BINARY)
    against = Samples(trial.valid.table, 1 - trial.valid.y)
    model = make_model(BINARY, n_epochs=2000, width=8, n_layers=1)
    model.fit(trial.train, against, Budget.start(3600.0))
    assert model._epoch < 500


def test_a_refit_trains_the_epochs_of_fitted_params():
    trial = Trial.make(BINARY)
    params = make_model(BINARY).fit(trial.train, trial.valid, FOREVER).fitted_params()
    assert params.n_epochs == QUICK.n_epochs
    assert 1 <= params.stop_epoch <= QUICK.n_epochs
    again = NeuralNetwork(params, make_setting(BINARY)).fit(trial.train, None, FOREVER)
    assert again._epoch == params.stop_epoch


@pytest.mark.parametrize("seconds", [0.0, 1e-3])
def test_no_time_raises(seconds):
    trial = Trial.make(BINARY)
    with pytest.raises(OutOfTimeError, match="raise the time limit"):
        make_model(BINARY).fit(trial.train, trial.valid, Budget.start(seconds))


def make_steps_cost(monkeypatch, seconds):
    """Let a step of each network take that long, on a clock that nothing else moves."""
    clock = FakeClock(monkeypatch)
    take = neural_training._Stack.steps

    def steps(stack, moments, budget):
        finished = take(stack, moments, budget)
        clock.now += seconds * stack.n_nets * len(moments)
        return finished

    monkeypatch.setattr(neural_training._Stack, "steps", steps)
    return clock


def test_time_for_less_than_three_epochs_raises(monkeypatch):
    trial = Trial.make(BINARY)
    model = make_model(BINARY, batch_size=8, n_members=1)
    clock = make_steps_cost(monkeypatch, seconds=0.1)
    n_steps = round(len(trial.train.y) / 8)
    with pytest.raises(OutOfTimeError, match=f"at least 3 epochs of {n_steps} steps, got .* seco"):
        model.fit(trial.train, trial.valid, Budget(clock.now + 0.1 * 2.5 * n_steps))


def test_a_short_time_shortens_the_schedule(monkeypatch):
    trial = Trial.make(BINARY)
    model = make_model(BINARY, n_epochs=2000, batch_size=8)
    clock = make_steps_cost(monkeypatch, seconds=0.01)
    model.fit(trial.train, trial.train, Budget(clock.now + 5.0))
    assert 3 <= model._n_epochs < 2000
    assert clock.now <= 1005.0


def test_fewer_members_than_wanted_were_hurried(monkeypatch):
    trial = Trial.make(BINARY)
    calm = make_model(BINARY, n_epochs=3, n_members=2).fit(trial.train, trial.valid, FOREVER)
    assert not calm.hurried
    assert calm.fitted_params().n_members == 2
    model = make_model(BINARY, n_epochs=2000, batch_size=8, n_members=32)
    clock = make_steps_cost(monkeypatch, seconds=0.01)
    model.fit(trial.train, trial.train, Budget(clock.now + 30.0))
    assert model.hurried
    assert model.fitted_params().n_members < 32


def test_a_refit_keeps_its_members_and_schedule_where_there_is_time_for_its_last_epoch(monkeypatch):
    trial = Trial.make(BINARY)
    model = make_model(BINARY, n_epochs=40, stop_epoch=5, batch_size=8, n_members=4)
    clock = make_steps_cost(monkeypatch, seconds=0.01)
    n_steps = round(len(trial.train.y) / 8)
    model.fit(trial.train, None, Budget(clock.now + 0.01 * 4 * 9 * n_steps))
    assert not model.hurried
    assert (model._epoch, model._n_epochs) == (5, 40)


def explode_after(monkeypatch, n_steps):
    """Turn the training loss into NaN from some step on."""
    calls = []

    def losses(output, y, loss):
        calls.append(None)
        return row_losses(output, y, loss) * (1.0 if len(calls) <= n_steps else float("nan"))

    monkeypatch.setattr(neural_training, "row_losses", losses)


def test_a_network_that_explodes_at_once_says_so(monkeypatch):
    explode_after(monkeypatch, 0)
    trial = Trial.make(REGRESSION)
    with pytest.raises(AutoMLError, match=r"lower its learning_rate, got 0\.03"):
        make_model(REGRESSION).fit(trial.train, trial.valid, FOREVER)


def test_a_network_that_explodes_later_keeps_an_epoch_before(monkeypatch):
    trial = Trial.make(REGRESSION)
    explode_after(monkeypatch, 12)
    model = make_model(REGRESSION, batch_size=40).fit(trial.train, trial.valid, FOREVER)
    assert 1 <= model._epoch <= 3
    assert np.isfinite(model.predict(trial.test.table)).all()


def test_a_missing_gpu_is_named(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    trial = Trial.make(BINARY)
    with pytest.raises(AutoMLError, match="device='cuda' needs a CUDA device"):
        make_model(BINARY, device="cuda").fit(trial.train, trial.valid, FOREVER)
    model = make_model(BINARY, device="auto", n_epochs=3)
    assert np.isfinite(model.fit(trial.train, trial.valid, FOREVER).predict(trial.test.table)).all()


def test_predict_before_fit_raises():
    with pytest.raises(NotFittedError, match="fitted before predict"):
        make_model(BINARY).predict(Trial.make(BINARY).test.table)


@pytest.mark.parametrize("n_rows", [1, 2, 10])
@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.problem_type.value)
def test_tiny_tables_give_finite_predictions(task, n_rows):
    trial = Trial.make(task)
    train, valid = trial.train.take(np.arange(n_rows)), trial.valid.take([0])
    model = make_model(task, n_epochs=5).fit(train, valid, FOREVER)
    assert np.isfinite(model.predict(trial.test.table)).all()


def test_a_table_of_constants_gives_the_base_rate():
    table = FeatureTable(
        np.ones((100, 2), np.float32), np.full((100, 1), 3, np.int32), n_levels=(6,)
    )
    y = np.repeat([0, 1], [75, 25])
    rows = np.random.default_rng(0).permutation(100)
    samples = Samples(table, y[rows])
    model = make_model(BINARY).fit(samples, samples, FOREVER)
    prediction = model.predict(table)
    assert np.allclose(prediction, prediction[0])
    assert abs(prediction[0, 1] - 0.25) < 0.1


def test_hundreds_of_classes_are_predicted():
    task = Task(ProblemType.MULTICLASS, 300)
    table = make_numbers(600)
    y = np.random.default_rng(0).integers(0, 200, 600)
    model = make_model(task, n_epochs=3).fit(Samples(table, y), None, FOREVER)
    prediction = model.predict(table)
    assert prediction.shape == (600, 300)
    assert np.allclose(prediction.sum(axis=1), 1.0)


def test_chunks_of_rows_are_joined_in_order():
    trial = Trial.make(REGRESSION, "numeric")
    model = make_model(REGRESSION, n_epochs=5).fit(trial.train, trial.valid, FOREVER)
    table = make_numbers(9000, n_columns=3)
    whole = model.predict(table)
    rows = [0, 63, 64, 8191, 8192, 8999]
    assert np.allclose(whole[rows], model.predict(table.take(rows)), atol=1e-5)


def test_a_restored_model_predicts_without_torch():
    trial = Trial.make(BINARY)
    model = make_model(BINARY, n_epochs=3).fit(trial.train, trial.valid, FOREVER)
    again = FittedSpec.from_state(FittedSpec("neural", model).state()).model
    expected = model.predict(trial.test.table)
    assert np.array_equal(again.predict(trial.test.table), expected)
    code = "import sys, tabular_automl.models.neural; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_weights_move_as_torchs_own_optimizer_moves_them():
    torch.manual_seed(0)
    ours = [Block(torch.randn(size), torch.empty(size)) for size in (50, 20)]
    theirs = [block.values.clone().requires_grad_() for block in ours]
    adam = neural_training._AdamW(ours)
    groups = [{"params": [block], "weight_decay": 0.0} for block in theirs]
    reference = torch.optim.AdamW(groups, betas=neural_training._BETAS, fused=True)
    for rate, decay in [(0.1, 0.02), (0.3, 0.01), (0.2, 0.0)]:
        for block, other in zip(ours, theirs, strict=True):
            block.gradients.copy_(torch.randn(len(block.gradients)))
            other.grad = block.gradients.clone()
        for group in reference.param_groups:
            group["lr"] = rate
        reference.param_groups[0]["weight_decay"] = decay
        adam.step(rate, [decay, 0.0])
        reference.step()
    for block, other in zip(ours, theirs, strict=True):
        assert torch.equal(block.values, other)


def test_a_network_is_trained_without_torchs_compiler():
    code = """
import sys
from tabular_automl.core.budget import Budget
from tabular_automl.models.base import Setting
from tabular_automl.models.neural import NeuralNetwork
from tabular_automl.models.trial import BINARY, Trial
trial = Trial.make(BINARY)
params = NeuralNetwork.Params(n_epochs=3, width=16, n_members=2, device="cpu")
model = NeuralNetwork(params, Setting(BINARY, "log_loss")).fit(trial.train, trial.valid, Budget())
model.predict(trial.test.table)
sys.exit("torch._dynamo" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
