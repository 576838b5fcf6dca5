"""The captioner on tiny random models in the published layout: loading, styles, what is refused."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from expotion.errors import MediaError, WeightsError
from expotion.testing import SyntheticClip, check_captioner
from expotion_caption_qwen2_audio import FUSE, SPEC, expotion_captioners, prompts


def _load_tiny() -> ModuleType:
    spec = importlib.util.spec_from_file_location("tiny_qwen", Path(__file__).with_name("tiny.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tiny = _load_tiny()


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("models")
    return tiny.tiny_qwen2_audio(folder / "audio"), tiny.tiny_qwen2_vl(folder / "video")


def captioner(models: tuple[Path, Path], **options: Any) -> Any:
    audio, video = models
    given = {"model": str(audio), "video_model": str(video), "max_new_tokens": 10, "frames": 2}
    return SPEC.build(SPEC.options(**(given | options)))


class Noise(SyntheticClip):
    """A clip with other sound than the synthetic one's tone."""

    def audio(self, sample_rate_hz: int) -> np.ndarray:
        n = round(self.duration_s * sample_rate_hz)
        return np.random.default_rng(3).normal(0, 0.2, n).astype(np.float32)


class Silent(SyntheticClip):
    """A clip whose sound track is silent."""

    def audio(self, sample_rate_hz: int) -> np.ndarray:
        return np.zeros(round(self.duration_s * sample_rate_hz), np.float32)


def test_the_suite_of_captioners(models: tuple[Path, Path]) -> None:
    results = check_captioner(SPEC, {"model": str(models[0]), "max_new_tokens": 6})
    assert all(result.passed for result in results)


def test_the_package_announces_its_captioners() -> None:
    assert [spec.name for spec in expotion_captioners()] == ["qwen2_audio", "qwen2_fuse"]


def test_licences_are_those_of_the_models_in_use() -> None:
    told = {weights.name: weights.licence for weights in SPEC.weights(SPEC.options(style="fused"))}
    assert told == {"Qwen/Qwen2-Audio-7B-Instruct": "Apache-2.0", "Qwen/Qwen2-VL-2B-Instruct": "Apache-2.0"}
    [own] = SPEC.weights(SPEC.options(model="/my/model"))
    assert own.licence == "its own"


def test_the_folder_is_laid_out_as_the_published_one(models: tuple[Path, Path]) -> None:
    from safetensors import safe_open

    with safe_open(models[0] / "model.safetensors", framework="numpy") as file:
        names = set(file.keys())
    parts = {name.split(".")[0] for name in names}
    assert parts == {"audio_tower", "multi_modal_projector", "language_model"}
    assert "language_model.model.embed_tokens.weight" in names
    assert (models[0] / "preprocessor_config.json").is_file()
    assert not (models[0] / "processor_config.json").exists()


def test_what_is_heard_decides_the_words(models: tuple[Path, Path]) -> None:
    write = captioner(models)
    tone, noise = write(SyntheticClip()), write(Noise())
    assert tone != noise
    assert tone == write(SyntheticClip())
    assert "\n" not in tone


def test_each_style_asks_its_question(models: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    write = captioner(models, style="fused")
    answer = write._answer

    def spy(clip: Any, model: Any, processor: Any, content: Any, **media: Any) -> str:
        asked.append(content[-1]["text"])
        return answer(clip, model, processor, content, **media)

    monkeypatch.setattr(write, "_answer", spy)
    fused = write(SyntheticClip())
    music, video, merged = asked
    assert music == "Please describe the music."
    assert video == prompts.VIDEO
    heard = write.about_music(SyntheticClip(), music)
    seen = write.about_video(SyntheticClip())
    assert heard in merged and seen in merged and fused
    joined = captioner(models, style="fused", fusion="join")(SyntheticClip())
    assert joined == f"{heard} The music accompanies a video: {seen}"
    scene = captioner(models, style="scene")
    assert "imagine" in prompts.QUESTIONS["scene"]
    assert scene(SyntheticClip()) == captioner(models, question=prompts.QUESTIONS["scene"])(SyntheticClip())


def test_the_question_and_the_sound_reach_the_model(models: tuple[Path, Path]) -> None:
    write = captioner(models)
    given: dict[str, Any] = {}
    generate = write.model.generate

    def spy(**inputs: Any) -> Any:
        given.update(inputs)
        return generate(**inputs)

    write.model.generate = spy
    write(SyntheticClip(duration_s=0.5))
    text = write.processor.batch_decode(given["input_ids"])[0]
    assert "Please describe the music." in text and text.endswith("<|im_start|>assistant\n")
    # 0.5 s are 50 mel frames, 25 after the convolutions and 12 or 13 after pooling: one placeholder each.
    n_placeholders = int((given["input_ids"] == write.model.config.audio_token_index).sum())
    assert n_placeholders in (12, 13)
    assert int(given["feature_attention_mask"].sum()) == 50


def test_the_style_video_loads_no_model_that_hears(models: tuple[Path, Path]) -> None:
    write = captioner((Path("nowhere/at-all"), models[1]), style="video")
    assert write(SyntheticClip()) == write.about_video(SyntheticClip())
    told = [weights.name for weights in SPEC.weights(SPEC.options(style="video"))]
    assert told == ["Qwen/Qwen2-VL-2B-Instruct"]


def test_a_scene_is_made_of_two_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fuse = FUSE.build(FUSE.options(model=str(tiny.tiny_qwen2(tmp_path)), max_new_tokens=8))
    clip = SyntheticClip()
    clip.caption = "slow strings\na woman at the sea"
    first = fuse(clip)
    clip.caption = "fast drums\na woman at the sea"
    assert first and fuse(clip) != first
    clip.caption = "one line"
    with pytest.raises(MediaError, match="two lines"):
        fuse(clip)


def test_of_a_long_sound_the_middle_is_heard(models: tuple[Path, Path]) -> None:
    write = captioner(models)
    heard: list[int] = []
    extractor = write.processor.feature_extractor
    call = type(extractor).__call__

    class Spy(type(extractor)):  # type: ignore[misc]
        def __call__(self, raw_speech: Any, *args: Any, **kwargs: Any) -> Any:
            heard.extend(len(one) for one in raw_speech)
            return call(self, raw_speech, *args, **kwargs)

    extractor.__class__ = Spy
    write(SyntheticClip(duration_s=2.5))
    assert heard == [extractor.n_samples]


def test_bf16_on_a_cpu_keeps_convolutions_in_float32(models: tuple[Path, Path]) -> None:
    import torch

    write = captioner(models, precision="bf16")
    kinds = {module.weight.dtype for module in write.model.modules() if isinstance(module, torch.nn.Conv1d)}
    assert kinds == {torch.float32}
    assert write.model.lm_head.weight.dtype == torch.bfloat16
    assert write(SyntheticClip())


def test_clips_that_cannot_be_described(models: tuple[Path, Path]) -> None:
    write = captioner(models, style="fused")
    with pytest.raises(MediaError, match="silence"):
        write(Silent())
    with pytest.raises(MediaError, match="a clip with sound"):
        write(SyntheticClip(with_audio=False))
    with pytest.raises(MediaError, match="a picture"):
        write(SyntheticClip(n_frames=0))


def test_weights_that_do_not_fit_are_named(tmp_path: Path, models: tuple[Path, Path]) -> None:
    lacking = tiny.without(tiny.tiny_qwen2_audio(tmp_path / "lacking"), "language_model.lm_head.weight")
    with pytest.raises(WeightsError, match=r"missing tensors.*lm_head\.weight"):
        captioner((lacking, models[1]))
    with pytest.raises(WeightsError, match="a model of the kind qwen2_audio, got qwen2_vl"):
        captioner((models[1], models[1]))
    (tmp_path / "empty").mkdir()
    with pytest.raises(WeightsError, match="safetensors files"):
        captioner((tmp_path / "empty", models[1]))


def test_a_model_that_is_nowhere_is_one_error(monkeypatch: pytest.MonkeyPatch, models: tuple[Path, Path]) -> None:
    import huggingface_hub

    def offline(name: str, **options: Any) -> str:
        raise OSError(f"no connection for {name}")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    with pytest.raises(WeightsError, match="hf download somebody/qwen") as error:
        captioner((Path("somebody/qwen"), models[1]))
    assert len(error.value.problems) == 1


def test_an_answer_becomes_one_line() -> None:
    from expotion_caption_qwen2_audio.captioner import one_line

    assert one_line("  A calm\npiano.\n", whole=True) == "A calm piano."
    assert one_line('"A calm piano. Then it ri\ufffd', whole=False) == "A calm piano."
    assert one_line("A calm pia", whole=False) == "A calm pia"
    assert one_line("\n\t", whole=True) == ""


def test_the_whole_is_held_against_the_published_tensors(monkeypatch: pytest.MonkeyPatch) -> None:
    from expotion_caption_qwen2_audio import published
    from expotion_caption_qwen2_audio.rehearsal import whole_fault

    hears, sees = "Qwen/Qwen2-Audio-7B-Instruct", "Qwen/Qwen2-VL-2B-Instruct"
    assert published.n_bytes(hears) == 2 * 8_397_094_912
    assert published.n_bytes(sees) == 2 * 2_208_985_600
    assert [own.size_bytes for own in SPEC.weights(SPEC.options(style="fused"))] == [16_794_189_824, 4_417_971_200]
    assert whole_fault(hears) is None and whole_fault(sees) is None
    monkeypatch.setitem(published.SIZES[sees]["vision_config"], "mlp_ratio", 3)
    assert str(whole_fault(sees)).startswith(
        f"{sees}: visual.blocks.0.mlp.fc1.bias is (5120,) as published, (3840,)"
    )


def test_a_captioner_rehearses_itself_one_layer_deep(monkeypatch: pytest.MonkeyPatch) -> None:
    from expotion_caption_qwen2_audio import published, rehearsal

    narrow = {"d_model": 16, "encoder_attention_heads": 2, "encoder_ffn_dim": 16, "embed_dim": 16, "num_heads": 2}
    narrow |= {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2, "num_key_value_heads": 2}
    narrow["rope_parameters"] = {"rope_type": "default", "mrope_section": [1, 1, 2], "rope_theta": 1e4}
    for name in ("Qwen/Qwen2-Audio-7B-Instruct", "Qwen/Qwen2-VL-2B-Instruct"):
        sizes = {
            part: {key: narrow.get(key, value) for key, value in own.items()} if isinstance(own, dict) else own
            for part, own in published.SIZES[name].items()
        }
        monkeypatch.setitem(published.SIZES, name, sizes)
    monkeypatch.setattr(rehearsal, "whole_fault", lambda name: "another" if "VL" in name else None)
    told = SPEC.rehearse(SPEC.options(style="fused", frames=1), SyntheticClip())
    assert told is not None and told.fault == "another" and told.n_bytes == 16_794_189_824 + 4_417_971_200
    assert [*told.layers.values()] == [32, 32, 32, 28] and told.computed_caption_s > told.walked_s > 0
    assert SPEC.rehearse(SPEC.options(model="someone/else"), SyntheticClip()) is None


def test_a_caption_of_all_layers_is_computed_from_one_of_each() -> None:
    from expotion_caption_qwen2_audio.rehearsal import Watch

    watch = Watch.__new__(Watch)
    watch.n, watch.tower_s = {"audio encoder": 32, "language model": 28}, [0.5]
    # Two answers of three tokens: a prompt and two more each.
    watch.layer_s, watch.pass_s = [2.0, 0.1, 0.1, 1.0, 0.1, 0.1], [3.0, 0.3, 0.3, 2.0, 0.3, 0.3]
    watch.is_prompt = [True, False, False] * 2
    token_s = 0.3 + 27 * 0.1
    assert watch.beyond_s(10) == pytest.approx(31 * 0.5 + 27 * 3.4 + (2 * 10 - 6) * token_s)
