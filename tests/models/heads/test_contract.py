"""What every head promises: the package's own, and one from elsewhere. A new member is a new line of `MEMBERS`."""

import copy
import json
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from mobile_vla.checkpoints.trained import load_trained, metadata, trained_state
from mobile_vla.core.batch import PairId
from mobile_vla.core.draws import FrameDraws
from mobile_vla.core.losses import huber, masked_mean
from mobile_vla.data.assemble import WindowRequest
from mobile_vla.doctor.examination import check_wiring
from mobile_vla.doctor.gradients import find_gradients, judge_gradients
from mobile_vla.doctor.windows import judge_windows, map_windows
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.tokenizer import Prompter
from mobile_vla.models.heads.head import HEADS, Head, HeadConfig, Target
from mobile_vla.models.stepper import PolicyStepper
from mobile_vla.settings.typed import build
from mobile_vla.taps.capture import capture
from mobile_vla.taps.points import resolve_taps

WINDOWS, WINDOW, WIDTH, CHUNK, COMPONENTS = 6, 5, 24, 3, 2
CLOSE = {"atol": 2e-5, "rtol": 0}


@dataclass(frozen=True, kw_only=True)
class GRUConfig(HeadConfig):
    """A head of somebody else's."""

    name: str = "tests.models.heads.test_contract:GRUConfig"
    size: int = 16

    def build(self, context_width: int, chunk: int, num_components: int) -> "GRUHead":
        return GRUHead(self, context_width, chunk, num_components)


class GRUHead(Head):
    state = "gru"

    def __init__(self, config: GRUConfig, context_width: int, chunk: int, num_components: int):
        super().__init__(config, chunk, num_components)
        self.gru = nn.GRU(context_width, config.size, batch_first=True)
        self.out = nn.Linear(config.size, chunk * num_components)

    def predict(self, contexts):
        return self.out(self.gru(contexts)[0]).unflatten(-1, (self.chunk, self.num_components))


SMALL = {"hidden": 16, "layers": 2, "mlp": [32]}
MEMBERS = {
    "lstm": {"name": "lstm", **SMALL},
    "mlp": {"name": "mlp", "hidden": [32, 16]},
    "mlp_history": {"name": "mlp", "hidden": [32], "history": 3, "objective": "l1", "output": "linear"},
    "bins": {"name": "bins", **SMALL, "number": 9},
    "bins_commands": {"name": "bins", **SMALL, "values": [[-1, 0, 1], [-1.1, 1]], "decode": "mode"},
    "flow": {"name": "flow", **SMALL, "steps": 4},
    "own": {"name": GRUConfig.name, "size": 16},
}


MINIMISE_WHAT_IS_REPORTED = {"lstm", "mlp", "own"}


def make_head(name: str) -> Head:
    torch.manual_seed(3)
    return build(HeadConfig, MEMBERS[name], "model.head").build(WIDTH, CHUNK, COMPONENTS).eval()


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def draws_of(names: str = "abcdef", variant: str = "own") -> FrameDraws:
    """A window each of other episodes, from frame 2 on."""
    ids = [PairId(name, 2 + frame, f"go {variant}", variant) for name in names for frame in range(WINDOW)]
    return FrameDraws(ids, torch.arange(len(ids)).unflatten(0, (len(names), WINDOW)))


def make_target(seed: int = 1) -> Target:
    generator = torch.Generator().manual_seed(seed)
    chunks = torch.rand(WINDOWS, WINDOW, CHUNK, COMPONENTS, generator=generator) * 2 - 1
    mask = torch.rand(chunks.shape[:-1], generator=generator) < 0.6
    return Target(chunks=torch.where(mask[..., None], chunks, 0), mask=mask, draws=draws_of(), huber_delta=0.7)


def act(head: Head, contexts: torch.Tensor, draws: FrameDraws | None = None) -> torch.Tensor:
    return head.actions(head(contexts), draws or draws_of())


def loss_of(head: Head, contexts: torch.Tensor, target: Target, seed: int = 0) -> torch.Tensor:
    torch.manual_seed(seed)
    return masked_mean(head.losses(head(contexts), target), target.mask)


@pytest.fixture(scope="module", params=MEMBERS)
def name(request) -> str:
    return request.param


@pytest.fixture
def head(name) -> Head:
    return make_head(name)


@pytest.fixture
def contexts() -> torch.Tensor:
    return draw(WINDOWS, WINDOW, WIDTH)


class TestShapes:
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_a_chunk_and_what_its_entries_cost(self, head, contexts, dtype):
        """Heads compute in float32 whatever they are given, also inside the trainer's autocast."""
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            prediction = head(contexts.to(dtype))
        actions, losses = head.actions(prediction, draws_of()), head.losses(prediction, make_target())
        for found in (actions, losses):
            assert found.shape == (WINDOWS, WINDOW, CHUNK, COMPONENTS)
            assert found.dtype == torch.float32
            assert found.isfinite().all()
        assert (losses >= 0).all()
        exact = act(head, contexts.to(dtype).float())
        torch.testing.assert_close(actions, exact, atol=0, rtol=0)

    def test_bounded_means_that_actions_never_leave_the_bounds(self, head, contexts):
        with torch.no_grad():
            for weight in head.parameters():
                weight.mul_(30)
        largest = float(act(head, contexts * 30).abs().max())
        assert (largest <= 1) == head.bounded

    def test_a_single_frame_is_a_window(self, head, contexts):
        """As the first frame of a drive; a history that is not there is no error."""
        alone = act(head, contexts[:, :1], FrameDraws(draws_of().ids, draws_of().windows[:, :1]))
        torch.testing.assert_close(alone, act(head, contexts)[:, :1], **CLOSE)


class TestCausality:
    def test_a_context_reaches_the_chunks_that_it_should_and_no_other(self, head, contexts):
        own, draws = head.response(head(contexts), draws_of()), draws_of()
        for place in range(WINDOW):
            changed = contexts.clone()
            changed[:, place] = draw(WINDOWS, WIDTH, seed=place + 5)
            moved = (head.response(head(changed), draws) - own).flatten(2).abs().amax(2)  # (S, W)
            reach = WINDOW if head.history is None else head.history
            for position in range(WINDOW):
                inside = place <= position < place + reach
                assert bool((moved[:, position] > 0).all()) == inside, (place, position)
                assert bool((moved[:, position] == 0).all()) != inside, (place, position)

    def test_padding_at_the_tail_changes_nothing_before_it(self, head, contexts):
        padded = contexts.clone()
        padded[:, 3:] = 0
        torch.testing.assert_close(act(head, padded)[:, :3], act(head, contexts)[:, :3], **CLOSE)

    def test_windows_do_not_see_each_other(self, head, contexts):
        alone = act(head, contexts[2:3], draws_of("c"))
        torch.testing.assert_close(alone[0], act(head, contexts)[2], **CLOSE)


class TestLosses:
    @pytest.mark.parametrize("training", [False, True])
    def test_a_masked_entry_changes_neither_loss_nor_gradient(self, head, contexts, training):
        head.train(training)
        target = make_target()
        hidden = ~target.mask[..., None].expand_as(target.chunks)
        other = replace(target, chunks=torch.where(hidden, 7 + draw(*hidden.shape), target.chunks))
        found = []
        for each in (target, other):
            head.zero_grad()
            loss = loss_of(head, contexts, each)
            loss.backward()
            found.append((loss, [weight.grad.clone() for weight in head.parameters()]))
        (loss, gradients), (other_loss, others) = found
        assert torch.equal(loss, other_loss)
        assert all(torch.equal(a, b) for a, b in zip(gradients, others, strict=True))

    def test_a_valid_entry_does(self, head, contexts):
        target = make_target()
        moved = replace(target, chunks=torch.where(target.mask[..., None], -target.chunks.sign(), target.chunks))
        assert not torch.equal(loss_of(head, contexts, target), loss_of(head, contexts, moved))

    def test_parts_of_a_step_add_up_to_its_mean(self, head, contexts):
        """Three accumulated batches of two windows, with valid entries unevenly spread."""
        target = make_target()
        target.mask[:2, :, 1:] = False
        whole = loss_of(head, contexts, target)
        parts = []
        for first in range(0, WINDOWS, 2):
            some = slice(first, first + 2)
            draws = FrameDraws(target.draws.ids, target.draws.windows[some])
            part = Target(chunks=target.chunks[some], mask=target.mask[some], draws=draws, huber_delta=0.7)
            parts.append(masked_mean(head.losses(head(contexts[some]), part), part.mask, int(target.mask.sum())))
        torch.testing.assert_close(sum(parts), whole, atol=1e-6, rtol=1e-5)

    def test_a_gradient_reaches_every_parameter(self, head, contexts):
        loss_of(head.train(), contexts, make_target()).backward()
        assert all(weight.grad is not None and weight.grad.any() for weight in head.parameters())

    def test_it_learns(self, head):
        """Actions that depend on the context, some of them masked; better than half the best constant."""
        contexts, target = draw(48, WINDOW, WIDTH), make_target()
        seen = contexts[..., : CHUNK * COMPONENTS].unflatten(-1, (CHUNK, COMPONENTS)).sign()
        mask = target.mask.repeat(8, 1, 1)
        draws = draws_of("".join(chr(ord("A") + i) for i in range(48)))
        target = Target(chunks=torch.where(mask[..., None], seen, 0), mask=mask, draws=draws, huber_delta=1.0)
        optimizer = torch.optim.Adam(head.train().parameters(), lr=1e-2)
        for step in range(120):
            optimizer.zero_grad()
            loss_of(head, contexts, target, seed=step).backward()
            optimizer.step()
        with torch.no_grad():
            actions = act(head.eval(), contexts, draws)
            reached = masked_mean(huber(actions, target.chunks, 1.0), mask)
            constant = masked_mean(huber(torch.zeros_like(actions), target.chunks, 1.0), mask)
        assert reached < constant / 2


class TestDeterminism:
    def test_the_same_again_and_nothing_drawn_from_the_generator_of_torch(self, head, contexts):
        before = torch.get_rng_state()
        first = act(head, contexts), head.losses(head(contexts), make_target())
        again = act(head, contexts), head.losses(head(contexts), make_target())
        assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
        assert torch.equal(torch.get_rng_state(), before)

    def test_a_training_step_is_a_function_of_torchs_seed(self, head, contexts):
        head.train()
        assert torch.equal(loss_of(head, contexts, make_target()), loss_of(head, contexts, make_target()))

    def test_a_variant_differs_by_its_context_alone(self, head, contexts):
        """With another instruction or image, the same noise; with another window around it, too."""
        own = act(head, contexts)
        assert torch.equal(act(head, contexts, draws_of(variant="swap")), own)


class TestStorage:
    def test_settings_and_parameters_are_all_there_is(self, name, head, contexts):
        """As a checkpoint keeps them: settings in plain values, the trained weights, and nothing else."""
        assert head.state_dict().keys() == dict(head.named_parameters()).keys()
        values = json.loads(json.dumps(asdict(head.config)))
        assert values["name"] == MEMBERS[name]["name"]
        torch.manual_seed(99)
        again = build(HeadConfig, values, "model.head").build(WIDTH, CHUNK, COMPONENTS).eval()
        assert again.config == head.config
        again.load_state_dict(head.state_dict())
        assert torch.equal(act(again, contexts), act(head, contexts))

    def test_it_is_built_without_memory(self, name, head):
        with torch.device("meta"):
            skeleton = build(HeadConfig, MEMBERS[name], "model.head").build(WIDTH, CHUNK, COMPONENTS)
        assert all(weight.is_meta for weight in skeleton.parameters())
        shapes = {name: weight.shape for name, weight in head.named_parameters()}
        assert {name: weight.shape for name, weight in skeleton.named_parameters()} == shapes

    def test_it_says_what_it_is(self, head):
        assert head.config.describe()


class TestPolicy:
    @pytest.fixture(scope="class")
    def made(self, lab, name) -> SimpleNamespace:
        policy = lab.make_policy(head=build(HeadConfig, MEMBERS[name], "model.head"))
        data = lab.make_data()
        episodes = data.episodes("train")
        assembler = data.assembler(episodes)
        batch = assembler(assembler.requests(next(iter(data.plan("train").batches(0)))))
        return SimpleNamespace(policy=policy, data=data, episodes=episodes, batch=batch)

    @torch.no_grad()
    def test_step_by_step_equals_batched(self, lab, made):
        episode = next(episode for episode in made.episodes if episode.num_frames > 2 * lab.window)
        place = made.episodes.index(episode)
        assembler = made.data.assembler(made.episodes)
        starts = range(episode.num_frames - lab.window + 1)
        batch = assembler([WindowRequest(episode=place, start=start) for start in starts])
        together = lab.space.denormalize(made.policy(batch))
        source = open_source(made.policy.backbone.config)
        stepper = PolicyStepper(made.policy, Prompter(source.tokenizer, source.config.prompt), lab.space, lab.window)
        stepper.reset(episode.instruction, episode.id)
        for frame, pixels in enumerate(lab.RandomFrames().read(episode, 0, episode.num_frames)):
            window, position = max(frame - lab.window + 1, 0), min(frame, lab.window - 1)
            torch.testing.assert_close(stepper.step(pixels), together[window, position], atol=1e-4, rtol=0)

    def test_a_checkpoint_brings_it_back(self, lab, made, name, tmp_path):
        state = {weight: value.clone() for weight, value in trained_state(made.policy).items()}
        known = metadata(made.policy, lab.space, {"model": {"head": asdict(made.policy.head.config)}})
        torch.save({"state_dict": state, "mobile_vla": known}, tmp_path / "a.ckpt")
        values = json.loads(json.dumps(known["config"]["model"]["head"]))
        again = lab.make_policy(seed=5, head=build(HeadConfig, values, "model.head"))
        with torch.no_grad():
            assert not torch.equal(again(made.batch), made.policy(made.batch))
            load_trained(again, tmp_path / "a.ckpt")
            assert torch.equal(again(made.batch), made.policy(made.batch))

    def test_it_trains_on_cached_contexts_as_on_frames(self, made):
        """Of the head alone, a gradient step is the same."""
        policy = copy.deepcopy(made.policy).eval()
        found = []
        with torch.no_grad():
            contexts = policy.contexts(made.batch)
        for batch in (made.batch, replace(made.batch, frames=None, contexts=contexts)):
            policy.zero_grad()
            actions, losses = policy(batch, huber_delta=1.0)
            masked_mean(losses, batch.chunk_mask, batch.denominator).backward()
            found.append([actions.detach(), *(weight.grad.clone() for weight in policy.head.parameters())])
        for a, b in zip(*found, strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)

    def test_an_epoch_of_training_moves_every_weight_and_says_what_it_minimised(self, lab, made, name, tmp_path):
        policy, data = copy.deepcopy(made.policy), made.data
        before = {of: weight.detach().clone() for of, weight in policy.head.named_parameters()}
        trainer = lab.make_trainer(tmp_path)
        trainer.fit(lab.make_module(policy, data), data)
        assert all(not torch.equal(weight, before[of]) for of, weight in policy.head.named_parameters())
        found = trainer.callback_metrics
        assert {"train/loss", "train/objective", "val_loss", "val/objective"} <= found.keys()
        same = float(found["val/objective"]) == pytest.approx(float(found["val_loss"]), rel=1e-5)
        assert same == (name in MINIMISE_WHAT_IS_REPORTED)

    def test_the_doctor_finds_it_wired(self, made):
        """As training begins with it, and whatever it reads of the window."""
        assert judge_windows(map_windows(made.policy, WINDOW)) == []
        assert check_wiring(made.policy, made.batch) == []
        assert judge_gradients(made.policy, find_gradients(made.policy, made.batch)) == []

    @torch.no_grad()
    def test_its_state_is_a_tap_point(self, made):
        with capture(made.policy, resolve_taps(made.policy, ["context", "head_state"])) as captured:
            made.policy(made.batch)
            rows = captured.take(made.batch)
        assert len(rows["head_state"]) == len(rows["context"])
        assert rows["head_state"].ndim == 2


def test_every_member_of_the_package_is_under_contract():
    assert {values["name"] for values in MEMBERS.values()} >= HEADS.homes.keys()


def test_settings_without_a_name_are_those_of_the_first_head():
    values = {"hidden": 8, "layers": 1, "mlp": [4]}
    assert asdict(build(HeadConfig, values, "model.head")) == {**values, "mlp": (4,), "name": "lstm", "dropout": 0.0}
