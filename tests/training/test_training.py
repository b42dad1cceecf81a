"""Training: targets, augmentation, checkpoints, export, and what is refused."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from mien.cli import app
from mien.data.fitted import read_dataset
from mien.data.samples import Samples
from mien.data.toy import toy_faces, write_toy_folders
from mien.errors import DataError, OutputError, RecipeError, TrainingError
from mien.labels import EIGHT, FER2013
from mien.model_file import ModelFile, load_model
from mien.training.augment import augment, central
from mien.training.callbacks import Watcher
from mien.training.checkpoint import (
    TrainingState,
    load_checkpoint,
    load_weights,
    save_checkpoint,
    save_weights,
    start_from,
)
from mien.training.distill import ViewTeachers, with_teachers
from mien.training.finetune import load_start
from mien.training.interpolate import interpolate_with_start
from mien.training.learning_data import head_targets, training_mixes
from mien.training.loop import BEST, CHECKPOINT, LAST, Faces, network_on, predict_logits
from mien.training.networks import count_parameters
from mien.training.own_parts import OwnParts
from mien.training.recipe import load_recipe
from mien.training.recipe_sections import AugmentSettings, DistillSettings, TargetSettings
from mien.training.run import train_run

CPU = torch.device("cpu")
TINY = ["network.stem=4", "network.widths=[8, 8]", "optimizer.batch_size=32", "optimizer.epochs=2",
        "optimizer.warmup_epochs=0.5", "input.view=40"]  # fmt: skip
NO_CHANGE = AugmentSettings(flip=False, rotate_deg=0, scale=0, shift=0, brightness=0, contrast=0, erase=0)


@pytest.fixture(scope="module")
def toy_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    write_toy_folders(folder, train=140, validation=70, test=70, seed=1)
    return folder


@pytest.fixture(scope="module")
def tiny_run(toy_folder, tmp_path_factory):
    out = tmp_path_factory.mktemp("run") / "tiny"
    return train_run(load_recipe("toy", TINY), toy_folder, out, device=CPU)


# Targets


def samples_with_votes():
    votes = np.zeros((3, 8), np.float32)
    votes[0, EIGHT.index("happy")] = 10
    votes[1, [EIGHT.index("sad"), EIGHT.index("contempt")]] = 5
    images = np.zeros((3, 48, 48, 1), np.uint8)
    return Samples(images, np.array([3, 4, 0]), FER2013, ("a", "b", "c"), votes)


def test_vote_targets_are_shares_and_majorities():
    (votes,) = head_targets(samples_with_votes(), TargetSettings(label=0, votes=1), source="s")
    assert votes.labels == EIGHT
    assert votes.truth.tolist() == [EIGHT.index("happy"), -1, -1]  # half of the votes is no majority
    assert votes.distribution.sum(1).tolist() == [1, 1, 0]


def test_label_targets_blend_and_smooth():
    (label,) = head_targets(samples_with_votes(), TargetSettings(label_blend=0.5, label_smoothing=0), source="s")
    np.testing.assert_allclose(label.distribution[1], np.eye(7)[4])  # contempt is no label: sad has all of the rest
    np.testing.assert_allclose(label.distribution[2], np.eye(7)[0])  # nobody voted: the label alone
    (smooth,) = head_targets(samples_with_votes(), TargetSettings(label_smoothing=0.1), source="s")
    np.testing.assert_allclose(smooth.distribution.sum(1), 1, atol=1e-6)
    assert smooth.distribution[0, 3] == pytest.approx(0.9 + 0.1 / 7)


def test_a_training_mix_is_of_votes_or_labels_without_smoothing():
    samples = samples_with_votes()
    every = replace(samples, votes=np.vstack([samples.votes[:2], np.ones((1, 8), np.float32)]))
    mixes = training_mixes(every, TargetSettings(label=1, votes=1, label_smoothing=0.1), source="s")
    assert mixes["label"] == ()  # three faces have no more than three labels
    np.testing.assert_allclose(mixes["votes"], every.votes.T @ (1 / every.votes.sum(1)) / 3, atol=1e-6)


def test_votes_wanted_but_absent():
    samples = replace(samples_with_votes(), votes=None)
    with pytest.raises(DataError, match="no ferplus_votes"):
        head_targets(samples, TargetSettings(votes=1), source="s")


# Augmentation


def test_augmentation_that_changes_nothing_is_the_central_crop():
    faces = torch.from_numpy(toy_faces(8, seed=0).images.transpose(0, 3, 1, 2).copy())
    views = augment(faces, NO_CHANGE, view=44, generator=torch.Generator().manual_seed(0))
    np.testing.assert_allclose(views.numpy(), central(faces, 44).numpy(), atol=1e-2)


def test_augmentation_is_seeded_and_in_range():
    faces = torch.from_numpy(toy_faces(16, seed=0).images.transpose(0, 3, 1, 2).copy())
    one, same, other = (
        augment(faces, AugmentSettings(), view=44, generator=torch.Generator().manual_seed(s)) for s in (1, 1, 2)
    )
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == (16, 1, 44, 44)
    assert one.min() >= 0
    assert one.max() <= 255


def test_lens_light_and_sensor_change_every_other_face():
    face = np.zeros((48, 48), np.float32)
    face[:, 24:] = 200  # an edge, with dark and light sides
    faces = torch.from_numpy(np.tile(face, (400, 1, 1, 1)))

    def views(**settings):
        generator = torch.Generator().manual_seed(0)
        return augment(faces, replace(NO_CHANGE, **settings), view=48, generator=generator)

    blurred, dimmed, noisy = views(blur=0.1), views(dim=0.5), views(noise=20.0)
    for changed in (blurred, dimmed, noisy):
        assert 0.4 < ((changed - faces).abs().amax((1, 2, 3)) < 1).float().mean() < 0.6
        assert changed.min() >= 0
        assert changed.max() <= 255
    torch.testing.assert_close(blurred.mean((2, 3)), faces.mean((2, 3)))  # the edge is in the middle
    slopes = (blurred[..., 24] - blurred[..., 23]).amax((1, 2))
    assert 15 < slopes.min() < 20  # 200 / (sqrt(2 pi) 4.8 px) is 17
    assert 100 < dimmed[..., 40].min() < 105
    assert 15 < noisy[..., 30:].std((1, 2, 3)).max() < 21


# Runs


def test_run_folder_is_complete(tiny_run):
    names = {p.name for p in tiny_run.folder.iterdir()}
    assert names == {
        "recipe.toml", "environment.json", "history.csv", "timing.csv", "confusions.json", "curves.png",
        BEST, LAST, CHECKPOINT, "toy.onnx", "validation.npz", "run.html",
    }  # fmt: skip
    assert len(tiny_run.history) == 2
    info = ModelFile(tiny_run.models[0]).info
    assert info.labels == FER2013
    assert info.target == "label"


def test_a_model_file_has_the_mix_of_its_training_faces(tiny_run, toy_folder):
    labels = read_dataset(toy_folder, size=48, channels=1)["train"].labels
    info = ModelFile(tiny_run.models[0]).info
    np.testing.assert_allclose(info.prior, np.bincount(labels, minlength=7) / len(labels), atol=1e-6)
    assert info.balance == 0  # 70 faces choose none


def test_model_file_agrees_with_pytorch(tiny_run, toy_folder):
    recipe = load_recipe(str(tiny_run.folder / "recipe.toml"))
    faces = toy_faces(64, seed=9).images
    model = ModelFile(tiny_run.models[0])
    network = network_on(recipe, {"label": 7}, CPU)
    load_weights(network, tiny_run.folder / BEST)
    logits = predict_logits(recipe, network, torch.from_numpy(faces.transpose(0, 3, 1, 2).copy()))["label"]
    expected = torch.softmax(logits / model.info.temperature, 1).numpy()
    np.testing.assert_allclose(model.probabilities(faces), expected, atol=1e-3)
    assert model.info.parameters == count_parameters(network)


@pytest.mark.parametrize("kind", ["sgd", "adamw"])
def test_checkpoint_holds_the_whole_state(kind, tmp_path):
    recipe = load_recipe("toy", TINY)

    def fresh():
        network, ema = (network_on(recipe, {"label": 7}, CPU) for _ in range(2))
        make = torch.optim.AdamW if kind == "adamw" else lambda p, lr: torch.optim.SGD(p, lr, 0.9)
        return TrainingState(network, ema, make(network.parameters(), 0.1), 0, 0, -1.0, [])

    def step(state):
        state.optimizer.zero_grad()
        state.network.train()(torch.ones(4, 1, 40, 40))["label"].sum().backward()
        state.optimizer.step()

    one, two = fresh(), fresh()
    step(one)
    one.epoch, one.history = 1, [{"epoch": 1.0}]
    torch.manual_seed(0)
    save_checkpoint(one, tmp_path / "c")
    load_checkpoint(two, tmp_path / "c")
    assert (two.epoch, two.history) == (1, [{"epoch": 1.0}])
    for state in (one, two):
        torch.manual_seed(0)
        step(state)
    for a, b in zip(one.network.parameters(), two.network.parameters(), strict=True):
        assert torch.equal(a, b)


def test_a_run_may_begin_at_the_mean_of_several(tmp_path):
    def network(*more, heads=7):
        return network_on(load_recipe("toy", [*TINY, *more]), {"label": heads}, CPU)

    several = [network(f"seed={seed}") for seed in (1, 2, 3)]
    for number, one in enumerate(several):
        one.train()(torch.rand(8, 1, 40, 40) * 255)  # its norms have seen faces, as after any training
        save_weights(one, tmp_path / f"{number}.safetensors")
    places = ",".join(str(tmp_path / f"{number}.safetensors") for number in range(3))
    mean = network("seed=4")
    load_start(mean, load_recipe("toy", [*TINY, f'network.weights="{places}"']), Faces(torch.empty(0), {}, {}))
    expected = torch.stack([one.trunk.stem[0].weight for one in several]).mean(0)
    torch.testing.assert_close(mean.trunk.stem[0].weight, expected)
    save_weights(network(heads=8), tmp_path / "other.safetensors")
    with pytest.raises(TrainingError, match=r"other\.safetensors: has other tensors than \S+0\.safetensors"):
        start_from(mean, tmp_path / "0.safetensors", tmp_path / "other.safetensors")


def test_starting_weights_may_differ_in_heads_only(tmp_path):
    def network(heads, *more):
        return network_on(load_recipe("toy", [*TINY, *more]), heads, CPU)

    both = network({"label": 7, "votes": 8}, "seed=1")
    save_weights(both, tmp_path / "both")
    one = network({"label": 7}, "seed=2")
    start_from(one, tmp_path / "both")
    assert torch.equal(one.heads["label"].weight, both.heads["label"].weight)
    assert torch.equal(one.trunk.stem[0].weight, both.trunk.stem[0].weight)
    save_weights(one, tmp_path / "one")
    other = network({"label": 7, "votes": 8}, "seed=3")
    fresh = other.heads["votes"].weight.clone()
    start_from(other, tmp_path / "one")
    assert torch.equal(other.heads["votes"].weight, fresh)
    assert torch.equal(other.trunk.stem[0].weight, both.trunk.stem[0].weight)
    with pytest.raises(TrainingError, match="weights of another network"):
        start_from(network({"label": 7}, "network.widths=[8, 16]"), tmp_path / "both")


def test_weights_of_another_network_are_refused(tmp_path):
    small = network_on(load_recipe("toy", TINY), {"label": 7}, CPU)
    save_weights(small, tmp_path / "w")
    with pytest.raises(TrainingError, match="weights of another network"):
        load_weights(network_on(load_recipe("toy", TINY), {"label": 4}, CPU), tmp_path / "w")
    (tmp_path / "broken").write_bytes(b"no safetensors")
    with pytest.raises(TrainingError, match="can't read it as safetensors"):
        load_weights(small, tmp_path / "broken")


@pytest.mark.parametrize(
    "change",
    [
        ["optimizer.sam_rho=0.05"],
        ["augment.mixup=0.2"],
        ["optimizer.kind=adamw", "optimizer.learning_rate=0.01"],
        ["optimizer.clip_norm=1.0", "optimizer.ema=0.0"],
    ],
)
def test_every_way_of_training_learns(change, toy_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("mien.training.run._export_heads", lambda *_: ())
    settings = load_recipe("toy", [*TINY, "optimizer.epochs=6", "optimizer.batch_size=16", *change])
    history = train_run(settings, toy_folder, tmp_path / "r", device=CPU).history
    assert history[-1]["train_loss"] < history[0]["train_loss"]


def test_training_starts_from_given_weights(tiny_run, toy_folder, tmp_path, monkeypatch):
    monkeypatch.setattr("mien.training.run._export_heads", lambda *_: ())
    given = [f'network.weights="{tiny_run.folder / LAST}"', "optimizer.learning_rate=1e-9"]
    train_run(load_recipe("toy", [*TINY, *given]), toy_folder, tmp_path / "r", device=CPU)
    start, end = (network_on(load_recipe("toy", TINY), {"label": 7}, CPU) for _ in range(2))
    load_weights(start, tiny_run.folder / LAST)
    load_weights(end, tmp_path / "r" / LAST)
    for a, b in zip(start.parameters(), end.parameters(), strict=True):
        torch.testing.assert_close(a, b)


def test_interpolation_takes_the_best_point(tiny_run, toy_folder, tmp_path, monkeypatch):
    recipe = load_recipe("toy", [*TINY, f'network.weights="{tiny_run.folder / LAST}"', "network.interpolate=true"])
    network = network_on(recipe, {"label": 7}, CPU)
    start = {k: v.clone() for k, v in load_file(tiny_run.folder / LAST).items()}
    end = {k: v.clone() for k, v in network.state_dict().items()}
    tried = []

    def fake(_recipe, now, _validation):
        tried.append(now.trunk.stem[0].weight.clone())
        return {"label_accuracy": 1.0 if len(tried) in (4, 7) else 0.5}  # shares 0.7 and 0.4

    monkeypatch.setattr("mien.training.interpolate.validate", fake)
    assert interpolate_with_start(recipe, network, Faces(torch.empty(0), {"label": torch.empty(0)}, {})) == 0.7
    assert torch.equal(tried[0], end["trunk.stem.0.weight"])
    assert torch.equal(tried[-1], start["trunk.stem.0.weight"])
    expected = 0.3 * start["trunk.stem.0.weight"] + 0.7 * end["trunk.stem.0.weight"]
    torch.testing.assert_close(network.trunk.stem[0].weight.detach(), expected)
    tried.clear()
    network.load_state_dict(end)
    capped = load_recipe("toy", [f'network.weights="{tiny_run.folder / LAST}"', "network.interpolate_most=0.6"])
    assert interpolate_with_start(capped, network, Faces(torch.empty(0), {"label": torch.empty(0)}, {})) == 0.3
    with pytest.raises(RecipeError, match="interpolate_most is 2"):
        load_recipe("toy", ["network.interpolate_most=2.0"])
    with pytest.raises(RecipeError, match="names no file"):
        load_recipe("toy", ["network.interpolate=true"])


def test_a_loss_that_is_no_number_stops_the_run(toy_folder, tmp_path):
    wild = load_recipe("toy", [*TINY, "optimizer.learning_rate=1e30"])
    with pytest.raises(TrainingError, match=r"lower optimizer\.learning_rate"):
        train_run(wild, toy_folder, tmp_path / "r", device=CPU)


def test_refusals(toy_folder, tiny_run, tmp_path):
    recipe = load_recipe("toy", TINY)
    with pytest.raises(OutputError, match="holds a run already"):
        train_run(recipe, toy_folder, tiny_run.folder, device=CPU)
    with pytest.raises(TrainingError, match="another recipe"):
        train_run(replace(recipe, seed=5), toy_folder, tiny_run.folder, resume=True, device=CPU)
    large = load_recipe("toy", ["optimizer.batch_size=4000"])
    with pytest.raises(RecipeError, match=r"140 faces to train on; use  --set optimizer\.batch_size=35"):
        train_run(large, toy_folder, tmp_path / "r", given=["optimizer.batch_size"], device=CPU)
    with pytest.raises(DataError, match="no such data set"):
        train_run(recipe, tmp_path / "nothing", tmp_path / "r", device=CPU)
    only_test = tmp_path / "only" / "test"
    only_test.parent.mkdir()
    only_test.symlink_to(toy_folder / "train")
    with pytest.raises(DataError, match="no split 'train'; it has"):
        train_run(recipe, tmp_path / "only", tmp_path / "r", device=CPU)
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(OutputError, match="can't be written"):
        train_run(recipe, toy_folder, file / "r", device=CPU)
    assert not (tmp_path / "r").exists()


def test_two_trainings_in_one_folder_are_refused(toy_folder, tmp_path, unexported):
    recipe, told = load_recipe("toy", TINY), []

    def second(_row):
        with pytest.raises(OutputError, match="another process trains in it") as refused:
            train_run(recipe, toy_folder, tmp_path / "run", resume=True, device=CPU)
        told.append(refused.value)

    run = train_run(recipe, toy_folder, tmp_path / "run", watcher=Watcher(on_epoch=second), device=CPU)
    assert len(told) == 2
    assert train_run(recipe, toy_folder, tmp_path / "run", resume=True, device=CPU).models == run.models


def test_a_paused_run_goes_on_to_the_same_weights(toy_folder, tmp_path, unexported):
    recipe = load_recipe("toy", [*TINY, "optimizer.epochs=3"])
    straight = train_run(recipe, toy_folder, tmp_path / "straight", device=CPU)
    paused = train_run(recipe, toy_folder, tmp_path / "paused", stop_after=2, device=CPU)
    assert (len(paused.history), paused.models) == (2, ())
    assert not (paused.folder / "last.safetensors").exists()
    again = train_run(recipe, toy_folder, paused.folder, resume=True, stop_after=1, device=CPU)
    assert len(again.history) == 2
    ended = train_run(recipe, toy_folder, paused.folder, resume=True, stop_after=3, device=CPU)
    assert ended.history == straight.history
    for name in (BEST, LAST, "validation.npz"):
        assert (ended.folder / name).read_bytes() == (straight.folder / name).read_bytes()


def test_the_command_says_how_a_paused_run_goes_on(toy_folder, tmp_path):
    out = str(tmp_path / "run")
    ended = CliRunner().invoke(app, ["train", "toy", "--data", str(toy_folder), "--out", out, "--stop-after", "1"])
    assert ended.exit_code == 0
    assert ended.stdout == ""
    assert f"{out} holds 1 finished epoch; the same command with --resume continues" in ended.stderr


def test_distillation_teaches_the_head_with_the_teachers_labels(tiny_run, said):
    samples = toy_faces(20, seed=3)
    targets = head_targets(samples, TargetSettings(label_smoothing=0), source="s")
    settings = DistillSettings(teachers=(str(tiny_run.models[0]),), weight=1.0, views=1)
    (taught,) = with_teachers(targets, samples.images, settings)
    expected = ModelFile(tiny_run.models[0]).probabilities(samples.images)
    np.testing.assert_allclose(taught.distribution, expected, atol=1e-6)
    other = replace(samples, label_names=("a", "b", "c", "d", "e", "f", "g"))
    asked = head_targets(other, TargetSettings(), source="s")
    assert with_teachers(asked, samples.images, settings) == asked
    assert "left out" in said[0]
    assert "no head has" in said[0]


def test_a_runs_folder_teaches_with_all_its_models(tiny_run, tmp_path):
    samples = toy_faces(20, seed=3)
    targets = head_targets(samples, TargetSettings(), source="s")
    by_file, by_folder = (
        with_teachers(targets, samples.images, DistillSettings(teachers=(str(place),), views=1))
        for place in (tiny_run.models[0], tiny_run.folder)
    )
    np.testing.assert_array_equal(by_file[0].distribution, by_folder[0].distribution)
    with pytest.raises(RecipeError, match="has no model file"):
        with_teachers(targets, samples.images, DistillSettings(teachers=(str(tmp_path),), views=1))


def test_what_each_teacher_said_is_kept_for_the_same_faces(tiny_run, tmp_path, monkeypatch):
    samples = toy_faces(20, seed=3)
    targets = head_targets(samples, TargetSettings(), source="s")
    settings = DistillSettings(teachers=(str(tiny_run.models[0]),), weight=0.5, views=1)
    asked = []
    answer = ModelFile.probabilities
    monkeypatch.setattr(ModelFile, "probabilities", lambda self, faces: asked.append(1) or answer(self, faces))
    kept = tmp_path / "teachers"
    (first,) = with_teachers(targets, samples.images, settings, kept=kept)
    (again,) = with_teachers(targets, samples.images, settings, kept=kept)
    assert np.array_equal(first.distribution, again.distribution)
    assert len(asked) == 1
    with_teachers(targets, samples.images, replace(settings, teachers=settings.teachers * 2), kept=kept)
    assert len(asked) == 1
    with_teachers(targets, samples.images, replace(settings, views=2), kept=kept)
    assert len(asked) == 3
    with_teachers(targets, samples.images[::-1], settings, kept=kept)
    assert len(asked) == 4
    for file in kept.iterdir():
        file.write_bytes(file.read_bytes()[:200])
    (mended,) = with_teachers(targets, samples.images, settings, kept=kept)
    assert np.array_equal(first.distribution, mended.distribution)


def test_asking_tells_how_far_it_is(tiny_run, tmp_path):
    samples = toy_faces(70, seed=3)
    targets = head_targets(samples, TargetSettings(), source="s")
    settings = DistillSettings(teachers=(str(tiny_run.models[0]),), weight=0.5, views=2)
    told = []
    for _ in range(2):
        with_teachers(targets, samples.images, settings, kept=tmp_path, on_asking=lambda *one: told.append(one))
    assert [(done, total) for done, total, _ in told] == [(64, 140), (128, 140), (134, 140), (140, 140)]
    assert all(rate > 0 for *_, rate in told)


# Teachers that see each view


def test_view_teachers_say_what_their_files_say_of_undamaged_faces():
    names = ("mien-small", "mien-small-fer2013")
    changes = replace(NO_CHANGE, cover=0.4, noise=40.0, spoilt=1.0)
    recipe = replace(load_recipe("toy"), augment=changes, distill=DistillSettings(names, weight=1.0, each_view=True))
    faces = toy_faces(20, seed=3).images
    there, labels = torch.from_numpy(faces.transpose(0, 3, 1, 2).copy()), {"votes": EIGHT, "label": FER2013}
    teachers = ViewTeachers.of(recipe, labels, there)
    assert len(teachers.networks) == 1  # both heads are of one network
    targets = {head: torch.full((20, len(own)), 1 / len(own)) for head, own in labels.items()}
    found = teachers.blended(targets, there, torch.Generator().manual_seed(0))
    for head, name in zip(labels, names, strict=True):
        np.testing.assert_allclose(found[head].numpy(), load_model(name).probabilities(faces), atol=0.03)  # bfloat16


def test_a_view_teacher_without_a_head_teaches_nothing(said):
    recipe = replace(load_recipe("toy"), distill=DistillSettings(("mien-nano",), weight=1.0, each_view=True))
    faces = torch.zeros(4, 1, 48, 48, dtype=torch.uint8)
    teachers = ViewTeachers.of(recipe, {"label": ("a", "b")}, faces)
    target = torch.rand(4, 2)
    assert torch.equal(teachers.blended({"label": target}, faces, torch.Generator())["label"], target)
    assert "left out" in said[0]


def test_training_with_view_teachers_goes_on_to_the_same_weights(tiny_run, toy_folder, tmp_path, unexported):
    taught = ["distill.each_view=true", f'distill.teachers=["{tiny_run.models[0].as_posix()}"]', "distill.weight=0.9"]
    recipe = load_recipe("toy", [*TINY, *taught])
    straight = train_run(recipe, toy_folder, tmp_path / "straight", device=CPU)
    paused = train_run(recipe, toy_folder, tmp_path / "paused", stop_after=1, device=CPU)
    ended = train_run(recipe, toy_folder, paused.folder, resume=True, device=CPU)
    assert ended.history == straight.history != tiny_run.history
    assert (ended.folder / LAST).read_bytes() == (straight.folder / LAST).read_bytes()
    with pytest.raises(RecipeError, match=r"distill\.each_view.*leave augment= or the key out"):
        train_run(recipe, toy_folder, tmp_path / "own", device=CPU, own=OwnParts(augment=lambda faces: faces))
