"""phonemi.inference.recordings: files keep their form, and what is enhanced together comes out as if alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from phonemi import Enhancer, audio
from phonemi.errors import AudioError, ConfigError
from phonemi.inference.recordings import enhance_file, enhance_files
from phonemi.progress import Progress

QUIET = Progress(enabled=False)


@pytest.mark.parametrize(
    ("name", "subtype", "sample_rate", "channels"),
    [
        ("a.wav", "PCM_16", 16_000, 1),
        ("a.wav", "PCM_24", 48_000, 2),
        ("a.wav", "FLOAT", 44_100, 3),
        ("A.WAV", "ULAW", 8000, 1),
        ("a.flac", "PCM_16", 22_050, 1),
        ("a.flac", "PCM_24", 44_100, 2),
        ("a.ogg", "VORBIS", 16_000, 2),
        ("a.opus", "OPUS", 48_000, 1),
        ("a.mp3", "MPEG_LAYER_III", 44_100, 2),
        ("a.mp3", "MPEG_LAYER_III", 16_000, 1),
    ],
)
@pytest.mark.parametrize("samples", [1, 1152, 3001])
def test_format_rate_channels_and_length_are_kept(
    tmp_path, identity, written, name, subtype, sample_rate, channels, samples
):
    """Lossy formats too keep the length to the sample: their headers say how much of the last frame is padding."""
    source = written(tmp_path / name, samples, channels, sample_rate, subtype)
    enhance_file(identity, source, tmp_path / "out" / name, chunk_s=0.03, overlap_s=0.01)
    before, after = audio.probe(source), audio.probe(tmp_path / "out" / name)
    assert (after.format, after.subtype) == (before.format, before.subtype)
    assert (after.sample_rate, after.channels, after.samples) == (sample_rate, channels, samples)
    assert sum(block.shape[1] for block in audio.blocks(tmp_path / "out" / name, 1000)) == samples


@given(
    samples=st.integers(1, 30) | st.integers(1, 6000),
    channels=st.integers(1, 3),
    # FLAC has no higher rates that are not round.
    sample_rate=st.sampled_from([8000, 16_000, 44_100, 48_000, 96_000]) | st.integers(4000, 65_535),
    name=st.sampled_from(["a.wav", "a.flac"]),
    chunk_s=st.floats(0.03, 1.0),
    batch_size=st.integers(1, 4),
)
def test_any_small_file(
    tmp_path_factory, encoder_enhancer, written, samples, channels, sample_rate, name, chunk_s, batch_size
):
    folder = tmp_path_factory.getbasetemp()
    source = written(folder / name, samples, channels, sample_rate)
    enhance_file(encoder_enhancer, source, folder / "out" / name, chunk_s, chunk_s / 3, batch_size)
    info = audio.probe(folder / "out" / name)
    assert (info.samples, info.channels, info.sample_rate) == (samples, channels, sample_rate)


def test_another_extension_is_another_format(tmp_path, identity, written):
    source = written(tmp_path / "a.wav", subtype="FLOAT")
    enhance_file(identity, source, tmp_path / "a.flac")
    info = audio.probe(tmp_path / "a.flac")
    assert (info.format, info.subtype, info.samples) == ("FLAC", "PCM_16", 3000)


def test_texts_are_kept(tmp_path, identity, sound):
    texts = {"title": "Noisy", "artist": "A speaker"}
    with audio.Writer(tmp_path / "a.flac", 16_000, 1, metadata=texts) as writer:
        writer.write(sound(1000))
    enhance_file(identity, tmp_path / "a.flac", tmp_path / "b.ogg")
    assert audio.probe(tmp_path / "b.ogg").metadata.items() >= texts.items()


def test_overwriting_the_source_is_refused(tmp_path, identity, written):
    source = written(tmp_path / "a.wav")
    content = source.read_bytes()
    (tmp_path / "link.wav").symlink_to(source)
    for target in (source, tmp_path / "x" / ".." / "a.wav", tmp_path / "link.wav"):
        with pytest.raises(AudioError, match="overwritten by its own enhancement"):
            enhance_file(identity, source, target)
    assert source.read_bytes() == content


# Batches ------------------------------------------------------------------------------------------------------------


def uneven_folder(folder, written):
    """Recordings of several rates, lengths and numbers of channels, two of them longer than a chunk: pairs of paths."""
    kinds = [(9000, 1, 16_000), (700, 1, 16_000), (50_000, 2, 16_000), (8800, 2, 16_000), (9000, 1, 8000), (1, 1, 8000)]
    pairs = []
    for index, (samples, channels, rate) in enumerate([*kinds, (45_000, 1, 16_000), (9500, 1, 16_000)]):
        source = written(folder / f"{index}.wav", samples, channels, rate, "FLOAT")
        pairs.append((source, folder / "out" / source.name))
    return pairs


@pytest.mark.slow
def test_a_batch_gives_what_one_by_one_gives(tmp_path, encoder_enhancer, written):
    pairs = uneven_folder(tmp_path, written)
    for batch_size in (1, 3, 100):
        summary = enhance_files(
            encoder_enhancer, pairs, QUIET, overwrite=True, chunk_s=1.5, overlap_s=0.3, batch_size=batch_size
        )
        assert [outcome.source for outcome in summary.of("done")] == [source for source, _ in pairs]
        found = [audio.load_channels(target)[0] for _, target in pairs]
        if batch_size == 1:
            alone = found
        for one, other in zip(alone, found, strict=True):
            np.testing.assert_allclose(one, other, atol=1e-5)


def test_batches_hold_what_is_alike(tmp_path, recorder, written):
    pairs = uneven_folder(tmp_path, written)
    enhance_files(recorder, pairs, QUIET, chunk_s=1.5, overlap_s=0.3, batch_size=4)
    assert sorted(map(len, recorder.batches)) != [1] * len(recorder.batches), "some are batched"
    for batch in recorder.batches:
        assert max(batch) <= 1.25 * min(batch)
    assert [700] in recorder.batches
    assert [8800, 9000, 9500] in recorder.batches  # of four channels
    recorder.batches.clear()
    enhance_files(recorder, pairs, QUIET, overwrite=True, chunk_s=1.5, overlap_s=0.3, batch_size=1)
    assert {len(batch) for batch in recorder.batches} == {1}


class Picky:
    """Refuses any batch that holds a recording of one length, as memory or a defect would."""

    def __init__(self, enhancer, samples, error):
        self.enhancer, self.samples, self.error = enhancer, samples, error

    def origin(self, **options):
        return self.enhancer.origin(**options)

    def enhance_chunks(self, waveforms, sample_rate, **options):
        if any(waveform.shape[1] == self.samples for waveform in waveforms):
            raise self.error
        return self.enhancer.enhance_chunks(waveforms, sample_rate, **options)


def test_what_fails_in_a_batch_fails_alone(tmp_path, recorder, written):
    import torch

    pairs = [(written(tmp_path / f"{n}.wav", n), tmp_path / "out" / f"{n}.wav") for n in (1000, 1001, 1002)]
    gpu, here = "takes more memory than the GPU has", "takes more memory than is free here"
    for error, reason in (
        (AudioError("not this one"), "not this one"),
        (torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate"), gpu),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate(handle)"), gpu),
        (
            RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 4 bytes. Error code 12"),
            here,
        ),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 4 bytes."), here),
        (RuntimeError("could not create a primitive"), here),
        (MemoryError("Unable to allocate 8.00 TiB for an array"), here),
    ):
        picky = Picky(recorder, 1001, error)
        summary = enhance_files(picky, pairs, QUIET, overwrite=True, batch_size=8)
        assert [outcome.state for outcome in summary.outcomes] == ["done", "failed", "done"]
        assert reason in summary.of("failed")[0].reason
        assert "\n" not in summary.of("failed")[0].reason


def test_what_is_no_matter_of_memory_is_raised(tmp_path, recorder, written):
    """A defect of ours is not the fault of a recording."""
    pairs = [(written(tmp_path / f"{n}.wav", n), tmp_path / "out" / f"{n}.wav") for n in (1000, 1001)]
    with pytest.raises(RuntimeError, match="sizes of tensors"):
        enhance_files(Picky(recorder, 1001, RuntimeError("sizes of tensors must match")), pairs, QUIET)


def test_a_recording_too_large_to_be_read_stops_no_other(tmp_path, recorder, written, monkeypatch):
    pairs = [(written(tmp_path / f"{n}.wav", n), tmp_path / "out" / f"{n}.wav") for n in (1000, 1001, 1002)]
    read = audio.Reader.blocks

    def too_large(reader, lengths):
        if reader.info.samples == 1001:
            raise MemoryError
        return read(reader, lengths)

    monkeypatch.setattr(audio.Reader, "blocks", too_large)
    summary = enhance_files(recorder, pairs, QUIET)
    assert [outcome.state for outcome in summary.outcomes] == ["done", "failed", "done"]
    assert "1001.wav takes more memory than is free here" in summary.outcomes[1].reason


@pytest.mark.slow
@pytest.mark.parametrize("lengths", [[4000], [4000, 3500], [3000] * 10])
def test_memory_does_not_grow_with_the_channels(encoder_enhancer, sound, monkeypatch, lengths):
    """At most eight rows go through the network at once, or as many as there are recordings, and come out the same."""
    rows = []
    with_gains = Enhancer.with_gains

    def counted(self, noisy, *arguments):
        rows.append(len(noisy))
        return with_gains(self, noisy, *arguments)

    monkeypatch.setattr(Enhancer, "with_gains", counted)
    many = [sound(3 * length, 11, 48_000) for length in lengths]
    found = encoder_enhancer.enhance_batch(many, 48_000)
    assert max(rows) <= max(8, len(lengths))
    assert sum(rows) == 11 * len(lengths)
    for waveform, enhanced in zip(many, found, strict=True):
        for channel in (0, 7, 8, 10):
            alone = encoder_enhancer.enhance(waveform[channel], 48_000)
            np.testing.assert_allclose(enhanced[channel], alone, atol=1e-5)


def test_options_reach_the_enhancer(tmp_path, frame_enhancer, written):
    source, target = written(tmp_path / "a.wav", 20_000, subtype="FLOAT"), tmp_path / "b.wav"
    enhance_file(frame_enhancer, source, target, 0.5, 0.1, mix=0.0)
    np.testing.assert_allclose(audio.load(target), audio.load(source), atol=1e-7)
    with pytest.raises(ConfigError, match="mix"):
        enhance_file(frame_enhancer, source, target, mix=2.0)
