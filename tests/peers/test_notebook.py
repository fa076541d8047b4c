"""``examples/library.ipynb`` in a real Jupyter kernel; skipped where there is none (``make test-peers``)."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

import aloe

nbclient = pytest.importorskip("nbclient", exc_type=ImportError)
nbformat = pytest.importorskip("nbformat", exc_type=ImportError)
pytest.importorskip("ipykernel", exc_type=ImportError)
BOOK = Path(aloe.__file__).parents[2] / "examples" / "library.ipynb"


def write_base(folder: Path) -> None:
    """A tiny model, from which the cell on training starts."""
    from aloe.config import TinyConfig
    from aloe.models.local.checkpoint import save_checkpoint
    from aloe.training.tiny.model import create_model
    from aloe.training.tiny.tokenizer import build_tokenizer

    tokenizer = build_tokenizer(["I keep bees. What should I read? A book on bees. Any book."])
    model = create_model(TinyConfig(d_model=16, n_layers=1, n_heads=2, d_ffn=16), tokenizer, 0)
    save_checkpoint(model, tokenizer, folder / "checkpoints" / "base", "", {})


def test_every_cell_runs_in_a_kernel(tmp_path: Path) -> None:
    book = nbformat.read(BOOK, as_version=4)
    if find_spec("trl") is None:  # without the extra 'train' all cells but one
        book.cells = [cell for cell in book.cells if "train_sft" not in cell.source]
    else:
        write_base(tmp_path)
    done = nbclient.NotebookClient(book, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    cells = [cell for cell in done.cells if cell.cell_type == "code"]
    assert len(cells) >= 8 and all(cell.outputs for cell in cells)
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
