import dataclasses

import numpy as np
import pytest

from expotion_conductor.music import DYNAMIC_RANGE_DB, render_music
from expotion_conductor.music_bank import PITCH_UNIT_HZ, SAMPLE_RATE_HZ, drum, note
from expotion_conductor.plan import TEST_SEEDS, TIMBRES, Plan, make_plan

SEED = TEST_SEEDS + 910_000


def level_db(sound: np.ndarray, hop_s: float = 0.1) -> np.ndarray:
    n = round(hop_s * SAMPLE_RATE_HZ)
    power = np.square(sound[: len(sound) // n * n].reshape(-1, n)).mean(1)
    return 10 * np.log10(np.convolve(power, np.ones(5) / 5, mode="same") + 1e-8)


def steady(plan: Plan, intensity: float) -> Plan:
    return dataclasses.replace(plan, intensity=np.full_like(plan.intensity, intensity))


def test_length_type_range_and_repeatability() -> None:
    plan = make_plan(SEED, 3.21)
    sound = render_music(plan)
    assert sound.dtype == np.float32 and sound.shape == (round(3.21 * SAMPLE_RATE_HZ),)
    assert np.abs(sound).max() < 1.0
    np.testing.assert_array_equal(sound, render_music(plan))


def test_loudness_follows_the_intensity() -> None:
    likeness = []
    for seed in range(SEED, SEED + 12):
        plan = make_plan(seed)
        level = level_db(render_music(plan))
        true = plan.intensity_at((np.arange(len(level)) + 0.5) * 0.1)
        likeness.append(np.corrcoef(level[3:-3], true[3:-3])[0, 1])
    assert min(likeness) > 0.8 and np.mean(likeness) > 0.93


def test_the_range_from_soft_to_loud_is_wide() -> None:
    plan = make_plan(SEED, 4.0)
    soft, loud = (np.sqrt(np.mean(render_music(steady(plan, i)) ** 2)) for i in (0.0, 1.0))
    assert 20 * np.log10(loud / soft) == pytest.approx(DYNAMIC_RANGE_DB, abs=3.0)


def test_louder_is_brighter() -> None:
    def centre_hz(sound: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(sound)) ** 2
        return float((power * np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE_HZ)).sum() / power.sum())

    plan = make_plan(SEED + 1, 4.0)
    assert centre_hz(render_music(steady(plan, 1.0))) > 1.1 * centre_hz(render_music(steady(plan, 0.0)))


def test_energy_jumps_at_every_beat_even_when_soft() -> None:
    plan = steady(make_plan(SEED + 2), 0.1)
    sound = render_music(plan)
    n = round(0.02 * SAMPLE_RATE_HZ)
    for beat_s in plan.beats_s[1:-1]:
        at = round(beat_s * SAMPLE_RATE_HZ)
        before, after = (np.square(sound[i : i + n]).mean() for i in (at - n, at))
        assert after > 2.0 * before


def test_timbres_sound_different_at_equal_level() -> None:
    plan = make_plan(SEED + 3, 3.0)
    spectra = []
    for timbre in TIMBRES:
        sound = render_music(dataclasses.replace(steady(plan, 0.7), timbre=timbre))
        assert -26.0 < 10 * np.log10(np.square(sound).mean()) < -12.0
        spectra.append(np.log(np.abs(np.fft.rfft(note(timbre, 8, True)))[500:8000:500] + 1.0))
    distances = [np.abs(a - b).mean() for i, a in enumerate(spectra) for b in spectra[:i]]
    assert min(distances) > 0.2


def test_a_clip_without_beats_is_still_sound() -> None:
    plan = next(p for p in (make_plan(s, 0.1) for s in range(99)) if len(p.beats_s) == 0)
    assert np.isfinite(render_music(plan)).all() and len(render_music(plan)) == 3200


def test_notes_are_in_tune_and_of_unit_level() -> None:
    wave = note("organ", 9, False)
    spectrum = np.abs(np.fft.rfft(wave[: SAMPLE_RATE_HZ // 2]))
    assert spectrum.argmax() * 2 == 9 * PITCH_UNIT_HZ
    assert np.sqrt(np.mean(wave[: SAMPLE_RATE_HZ // 2] ** 2)) == pytest.approx(1.0, abs=1e-3)
    assert np.isfinite(drum("kick", True)).all()
    with pytest.raises(KeyError):
        note("kazoo", 8, True)


def test_a_held_note_repeats_with_every_frame_of_the_codec() -> None:
    frames = note("strings", 7, True)[12_800:25_600].reshape(-1, 640)
    unit = frames / np.linalg.norm(frames, axis=1, keepdims=True)
    assert (unit @ unit[0]).min() > 0.999
