"""Compiled layers: in the training step they really are, and compute the same; anywhere else nothing knows of them."""

import copy

import lightning.pytorch as pl
import pytest
import torch

from mobile_vla.core.errors import UserError
from mobile_vla.training.callbacks.compiled import CompiledLayers, check_compiler


@pytest.fixture
def traced(monkeypatch):
    """Graphs are traced as ever and run as they are, without kernels of their own: (mode, number) of each run."""
    runs: list[str] = []
    compile_graph = torch.compile

    def backend(graph, inputs):
        def run(*values):
            runs.append("graph")
            return graph(*values)

        return run

    monkeypatch.setattr(torch, "compile", lambda *given, **settings: compile_graph(*given, backend=backend, **settings))
    torch.compiler.reset()
    yield runs
    torch.compiler.reset()


def layers_of(policy):
    model = policy.backbone.model
    return [*model.vision_model.model.encoder.layers, *model.text_model.model.layers]


class Watch(pl.Callback):
    """Counts what a hook inside a layer sees of each validation, as a probe would."""

    def __init__(self, policy):
        self.layer = layers_of(policy)[0].mlp.fc1
        self.seen: list[int] = []

    def on_validation_start(self, trainer, module):
        self.seen.append(0)
        self.hook = self.layer.register_forward_hook(self.count)

    def count(self, *_):
        self.seen[-1] += 1

    def on_validation_end(self, trainer, module):
        self.hook.remove()


def train(lab, folder, policy, *callbacks):
    """Losses of the steps, and what was seen of the validations."""
    data = lab.make_data(batch_size=8)
    module, watch, losses = lab.make_module(policy, data, max_epochs=2), Watch(policy), []
    step = module.training_step
    module.training_step = lambda *given: losses.append(step(*given)) or losses[-1]
    lab.make_trainer(folder, max_epochs=2, callbacks=[watch, *callbacks]).fit(module, data)
    return [found["loss"].item() for found in losses], watch.seen


def test_training_steps_run_compiled_and_validations_do_not(lab, tmp_path, traced):
    """As many distinct frames as a batch happens to hold, without compiling anew for them."""
    start = lab.make_policy()
    names = list(start.state_dict())
    plain, every = train(lab, tmp_path, copy.deepcopy(start))
    assert traced == []
    policy = copy.deepcopy(start)
    found, seen = train(lab, tmp_path, policy, CompiledLayers(policy))
    assert found == pytest.approx(plain, rel=1e-4)
    assert len(traced) >= len(plain)
    assert seen == every
    assert min(seen) > 0
    assert not [layer for layer in layers_of(policy) if "forward" in vars(layer)]
    assert list(policy.state_dict()) == names


def test_a_step_that_fails_leaves_no_compiled_layer_behind(lab, tmp_path, traced):
    policy = lab.make_policy()
    data = lab.make_data(batch_size=8)
    module = lab.make_module(policy, data)

    def fail(*given):
        assert all("forward" in vars(layer) for layer in layers_of(policy))
        raise RuntimeError("in the midst of a step")

    module.training_step = fail
    with pytest.raises(RuntimeError, match="in the midst"):
        lab.make_trainer(tmp_path, callbacks=[CompiledLayers(policy)]).fit(module, data)
    assert not [layer for layer in layers_of(policy) if "forward" in vars(layer)]


def test_without_a_compiler_it_is_refused_in_one_line(monkeypatch, capfd):
    from torch._inductor import config

    monkeypatch.setattr(config.cpp, "cxx", (None, "/no/such/compiler"))
    with pytest.raises(
        UserError, match=r"^trainer\.compile=True: torch\.compile does not work here \(.*C\+\+"
    ) as error:
        check_compiler("cpu")
    assert "\n" not in str(error.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, {"gradient_checkpointing": True}, {"lora": {"preset": "text"}}])
def test_compiled_gradients_are_the_plain_ones(lab, settings):
    check_compiler("cpu")
    policy = lab.make_policy(**settings).train()
    data = lab.make_data(batch_size=8)
    assembler = data.assembler(data.episodes("train"))
    compiled = CompiledLayers(policy)
    for planned in data.plan("train").batches(0):
        batch = assembler(assembler.requests(planned))
        gradients = []
        for switch in (compiled.switch_off, compiled.switch_on):
            switch()
            policy.zero_grad()
            policy(batch).square().mean().backward()
            gradients.append({name: weight.grad.clone() for name, weight in policy.trained().items()})
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], gradient, atol=1e-6, rtol=1e-3, msg=name)
