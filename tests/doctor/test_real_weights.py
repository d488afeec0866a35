"""Real folders at small size: a good one passes every check, and each planted fault is found by name."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from mobile_vla.core.errors import UserError
from mobile_vla.doctor.finding import Finding
from mobile_vla.doctor.real_weights import judge_real_weights
from mobile_vla.models.backbones.backbone import Backbone
from mobile_vla.models.backbones.kosmos2 import Kosmos2Backbone, Kosmos2ModelConfig
from mobile_vla.models.backbones.loading import open_source
from mobile_vla.models.backbones.smolvlm import SmolVLMModelConfig
from mobile_vla.models.backbones.tokenizer import NUM_FILLERS
from tests.cli.small_training import run
from tests.models.backbones.folders import write_kosmos2, write_smolvlm

CONFIGS = {"kosmos2": Kosmos2ModelConfig, "smolvlm": SmolVLMModelConfig}
NUM_FIXED = 4 + NUM_FILLERS  # <s>, <pad>, </s>, <unk> and image positions; bytes and words follow
CHECKS = ["preprocessing", "pixels", "resizing", "tokens", "words", "image_tokens", "hidden_states"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("folders")
    return {
        "kosmos2": write_kosmos2(root / "kosmos2", max_shard_size="60KB"),
        "smolvlm": write_smolvlm(root / "smolvlm"),
    }


@pytest.fixture(params=CONFIGS)
def family(request) -> str:
    return request.param


@pytest.fixture
def copy(folders, family, tmp_path) -> Path:
    """To be damaged."""
    return Path(shutil.copytree(folders[family], tmp_path / "copy"))


def judge(family: str, folder: Path, **settings) -> list[Finding]:
    return judge_real_weights(open_source(CONFIGS[family](weights=str(folder), **settings)))


def wrong(family: str, folder: Path, **settings) -> list[str]:
    return [finding.name for finding in judge(family, folder, **settings) if finding.severity != "passed"]


def change(file: Path, **values) -> None:
    content = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps({**content, **values}), encoding="utf-8")


def change_images(folder: Path, **values) -> None:
    """Of Kosmos-2 the image processor is part of the processor's file, too."""
    for file in (folder / "preprocessor_config.json", folder / "processor_config.json"):
        if file.is_file():
            content = json.loads(file.read_text(encoding="utf-8"))
            content.get("image_processor", content).update(values)
            file.write_text(json.dumps(content), encoding="utf-8")


def change_vocabulary(folder: Path, change) -> None:
    """change: of the list of [piece, score]."""
    file = folder / "tokenizer.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    content["model"]["vocab"] = change(content["model"]["vocab"])
    file.write_text(json.dumps(content), encoding="utf-8")


def test_a_good_folder_passes_every_check(folders, family):
    found = judge(family, folders[family])
    assert [finding.name for finding in found if finding.severity != "passed"] == []
    assert [finding.name for finding in found if finding.name != "context"] == CHECKS
    layouts = ["robovlms", "kosmos2"] if family == "kosmos2" else ["smolvlm"]
    assert [finding.what.partition(":")[0] for finding in found if finding.name == "context"] == [
        f"context ({layout})" for layout in layouts
    ]
    shares = [finding.numbers["share"] for finding in found if "share" in finding.numbers]
    assert 0 < max(shares) < 1e-5  # float32, and not the same computation twice


def test_smaller_smolvlms_are_stored_under_another_name(tmp_path):
    assert wrong("smolvlm", write_smolvlm(tmp_path, kind="idefics3")) == []


def test_another_normalisation_than_published(family, copy):
    change_images(copy, image_mean=[0.0, 0.0, 0.0], image_std=[1.0, 1.0, 1.0])
    (found,) = (finding for finding in judge(family, copy) if finding.severity != "passed")
    assert (found.name, found.severity) == ("preprocessing_differs", "warning")
    assert "mean 0, 0, 0, deviation 1, 1, 1; published: " in found.what


def test_another_scale_than_ours(family, copy):
    change_images(copy, rescale_factor=1 / 127.5)
    names = wrong(family, copy)
    assert names[:2] == ["pixels_differ", "resizing_differs"]
    assert "image_tokens_differ" in names


def test_frames_that_its_processor_crops(folders, tmp_path):
    folder = Path(shutil.copytree(folders["kosmos2"], tmp_path / "copy"))
    size = {"height": 28, "width": 28}
    change_images(folder, do_center_crop=True, crop_size=size, size={"shortest_edge": 28})
    assert wrong("kosmos2", folder) == ["resizing_differs"]


def test_a_shuffled_vocabulary(family, copy):
    """Special tokens keep their ids: that words have others only the weights can tell."""
    change_vocabulary(copy, lambda pieces: [*pieces[:NUM_FIXED], *pieces[: NUM_FIXED - 1 : -1]])
    found = {finding.name: finding for finding in judge(family, copy) if finding.severity != "passed"}
    assert list(found) == ["words_not_known"]
    numbers = found["words_not_known"].numbers
    assert numbers["loss"] > numbers["allowed"]


def test_special_tokens_under_other_ids(family, copy):
    """<pad> and </s> change places."""
    change_vocabulary(copy, lambda pieces: [pieces[0], pieces[2], pieces[1], *pieces[3:]])
    content = json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))
    ids = {"<pad>": 2, "</s>": 1}
    content["added_tokens"] = [
        {**token, "id": ids.get(token["content"], token["id"])} for token in content["added_tokens"]
    ]
    (copy / "tokenizer.json").write_text(json.dumps(content), encoding="utf-8")
    found = {finding.name: finding for finding in judge(family, copy) if finding.severity != "passed"}
    assert "pad is 2, config.json says 1" in found["token_ids_differ"].what


def test_a_special_token_that_only_its_processor_writes_is_missing(folders, tmp_path):
    folder = Path(shutil.copytree(folders["kosmos2"], tmp_path / "copy"))
    for file in ("tokenizer.json", "tokenizer_config.json"):
        text = (folder / file).read_text(encoding="utf-8")
        (folder / file).write_text(text.replace("</image>", "</picture>"), encoding="utf-8")
    (found,) = (finding for finding in judge("kosmos2", folder) if finding.severity != "passed")
    assert found.name == "special_tokens_missing"
    assert "['</image>']" in found.what
    with pytest.raises(UserError, match=r"model\.layout=kosmos2 needs the tokens \['</image>'\]"):
        judge("kosmos2", folder, layout="kosmos2")


def test_another_chat_template_than_our_prompt(folders, tmp_path):
    folder = Path(shutil.copytree(folders["smolvlm"], tmp_path / "copy"))
    file = folder / "chat_template.jinja"
    file.write_text(file.read_text(encoding="utf-8").replace("Assistant:", "Robot:"), encoding="utf-8")
    found = {finding.name: finding for finding in judge("smolvlm", folder) if finding.severity != "passed"}
    assert "from token 20 on" in found["prompt_differs"].what
    assert set(found) == {"prompt_differs", "hidden_states_differ", "context_differ"}


def test_a_folder_without_a_language_model_head(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(folders["smolvlm"], tmp_path / "copy"))
    weights = load_file(folder / "model.safetensors")
    del weights["lm_head.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert wrong("smolvlm", folder) == ["words_unknown"]


@pytest.mark.parametrize(
    ("part", "names"),
    [
        ("encode", ["image_tokens_differ", "hidden_states_differ", "context_differ", "context_differ"]),
        ("run", ["hidden_states_differ", "context_differ", "context_differ"]),
    ],
)
def test_a_fault_of_our_own_shows(folders, monkeypatch, part, names):
    own = getattr(Kosmos2Backbone, part)
    monkeypatch.setattr(Kosmos2Backbone, part, lambda *given: own(*given) * 1.5)
    assert wrong("kosmos2", folders["kosmos2"]) == names


def test_an_image_token_that_stands_one_place_too_far(folders, monkeypatch):
    own = Backbone.assemble
    monkeypatch.setattr(Backbone, "assemble", lambda self, tokens, *rest: own(self, tokens.roll(1, 1), *rest))
    names = wrong("kosmos2", folders["kosmos2"])
    assert names == ["hidden_states_differ", "context_differ", "context_differ"]


@pytest.mark.parametrize("family", ["kosmos2", pytest.param("smolvlm", marks=pytest.mark.slow)])
def test_the_command_tells_all_of_it(folders, family, tmp_path, capsys):
    words = (f"model={family}", f"model.weights={folders[family]}", "trainer=cpu", f"out={tmp_path / 'out'}")
    assert (
        run("doctor", *words, "model.head.hidden=16", "model.head.layers=1", "model.head.mlp=[16]", "data.window=3")
        == 0
    )
    found = json.loads((tmp_path / "out" / "doctor.json").read_text())
    assert found["counts"] == {"error": 0, "warning": 0}
    by_name = {one["name"]: one for one in found["findings"]}
    assert {*CHECKS, "context", "parameters", "memory", "speed"} == by_name.keys()
    assert by_name["speed"]["numbers"]["seconds"] > 0
    assert by_name["memory"]["numbers"]["estimated"] > 0
    counts = by_name["parameters"]["numbers"]["counts"]
    source = open_source(CONFIGS[family](weights=str(folders[family])))
    total = sum(weight.numel() for weight in source.sketch.model.parameters())
    assert counts["vision"] + counts["projection"] + counts["text"] == total
    printed = capsys.readouterr().out
    assert "passed" in printed
    assert "another size than" in " ".join(printed.split())


def test_a_truncated_shard_is_refused_in_a_line(folders, tmp_path, capsys):
    folder = Path(shutil.copytree(folders["kosmos2"], tmp_path / "copy"))
    shard = sorted(folder.glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-7])
    assert run("doctor", "model=kosmos2", f"model.weights={folder}", f"out={tmp_path / 'out'}") == 2
    assert f"{shard.name} is damaged" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_random_numbers_are_as_before(folders, family):
    before = torch.get_rng_state()
    judge(family, folders[family])
    assert torch.equal(torch.get_rng_state(), before)
