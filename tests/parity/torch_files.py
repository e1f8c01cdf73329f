"""Small files as PyTorch writes them."""

import pytest

torch = pytest.importorskip("torch", reason="needs the [torch] extra")

ZIPPED = pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])


def save(content, path, *, zipped=True, **options):
    torch.save(content, path, _use_new_zipfile_serialization=zipped, **options)
    return path


def state() -> dict:
    generator = torch.Generator().manual_seed(0)
    return {
        "conv1.weight": torch.randn(4, 3, 2, 2, generator=generator),
        "bn1.running_mean": torch.tensor([-0.0, 1e-45]),
        "bn1.num_batches_tracked": torch.tensor(2**40 + 1),
        "mask": torch.tensor([True, False]),
        "empty": torch.zeros(0, 3),
    }
