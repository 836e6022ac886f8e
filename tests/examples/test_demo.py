"""The demo's programs are right at small sizes, and the whole of it runs."""

import jax
import numpy as np
import pytest

pytest.importorskip("sklearn")
pytest.importorskip("matplotlib")

from benchmarks.row import Row
from examples.demo import mosaic, sparse_gp, transformer
from examples.demo.__main__ import main
from examples.demo.photograph import assemble, patches, photograph, pixels
from examples.demo.source_text import CHARACTERS, batch
from examples.demo.summary import summary


def quiet(text):
    pass


@pytest.mark.parametrize("module", [sparse_gp, mosaic, transformer])
def test_programs_give_finite_results(module):
    with jax.enable_x64(module.PROGRAM.x64):
        for args in (module.PROGRAM.warm_args(), module.QUICK.make_args(0)):
            result = jax.device_get(jax.jit(module.PROGRAM.fun)(*args))
            assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result))


def test_training_the_sparse_gp_raises_its_bound():
    with jax.enable_x64(True):
        fit = sparse_gp.train(jax.jit, quick=True, say=quiet)
    assert fit.bounds[-1] > fit.bounds[0]
    assert fit.reconstruction.shape == fit.original.shape
    assert fit.error < fit.original.std()


def test_training_the_transformer_lowers_its_loss():
    losses = transformer.train(jax.jit, quick=True, say=quiet)
    assert losses[-1] < losses[0]


def test_every_patch_of_the_mosaic_is_the_nearest():
    queries, candidates = mosaic.QUICK.make_args(0)
    laid = mosaic.lay(jax.jit, quick=True, say=quiet).laid
    distances = ((queries[:, None] - candidates[None]) ** 2).sum(-1).min(1)
    found = ((patches(laid, mosaic.SIZE, mosaic.SIZE) - queries) ** 2).sum(-1)
    np.testing.assert_array_equal(found, distances)


def test_patches_laid_side_by_side_are_the_image_again():
    image = photograph("china.jpg", shrink=8)[:48, :72]
    again = assemble(patches(image, 8, 8), 8, 72)
    np.testing.assert_array_equal(again, image)


def test_pixels_are_row_by_row():
    image = photograph("china.jpg", shrink=40)
    coordinates, colours = pixels(image)
    width = image.shape[1]
    np.testing.assert_allclose(coordinates[width + 2] * width, [1, 2])
    np.testing.assert_array_equal(colours[width + 2], image[1, 2] / 255)


def test_the_text_to_predict_is_one_character_later():
    tokens, following = batch(0, 3, 20)
    np.testing.assert_array_equal(tokens[:, 1:], following[:, :-1])
    assert tokens.max() < CHARACTERS


def test_the_summary_says_when_plain_jit_was_not_measured():
    row = Row("GP", "", "96 MiB", 1.0, 10 << 20, 96 << 20, 4000 << 20, notes=["too big to run"])
    text = summary([row])
    assert "4,000" in text
    assert "GP: too big to run" in text
    assert "not measured" in text


@pytest.mark.slow
def test_the_whole_demo(tmp_path, capsys):
    assert main(["--quick", "--out", str(tmp_path)]) == 0
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"sparse-gp.png", "mosaic.png", "transformer.png", "memory.png"}
    assert str(tmp_path) in capsys.readouterr().out
