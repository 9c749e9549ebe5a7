"""Downloads public Minari datasets."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from contextlib import suppress

from lit_offrl.datasets.download import PATIENCE_SECONDS, cache_folder, make_folder
from lit_offrl.errors import UserError, check, first_line

PREFIX = "minari:"
# For installations without minari's extra hf.
NEEDS = "it needs pip install 'lit-offrl[remote]'"


def fetch_minari(id: str) -> None:
    """Download a dataset to Minari's folder unless it is complete there.

    Args:
        id: Id on https://minari.farama.org, such as ``mujoco/hopper/medium-v0``.

    Raises:
        UserError: The dataset cannot be downloaded.
    """
    import minari
    from minari.storage import get_dataset_path

    check(
        re.search(r"-v\d+$", id) is not None,
        f"data.dataset: '{PREFIX}{id}' has no version; give one, such as {PREFIX}{id}-v0",
    )
    # Minari would take a partial download for a whole dataset; this file marks it.
    mark = cache_folder() / "minari" / f"{id.replace('/', '-')}.part"
    try:
        if get_dataset_path(id).is_dir() and not mark.is_file():
            return
        make_folder(mark.parent)
        broken = mark.is_file()
        mark.touch()
        _check_network()
        minari.download_dataset(id, force_download=broken)
    except UserError:
        raise
    except ImportError as error:
        raise UserError(f"data.dataset: '{PREFIX}{id}' cannot be fetched, {NEEDS}") from error
    except ValueError as error:
        mark.unlink(missing_ok=True)
        raise UserError(
            f"data.dataset: no '{id}' to fetch, {first_line(error)}; https://minari.farama.org lists them"
        ) from error
    except Exception as error:
        raise UserError(
            f"data.dataset: '{PREFIX}{id}' cannot be fetched, {first_line(error)}; is there a network? "
            "Copy the dataset's folder here by hand and give its path, or use bundled/halfcheetah-mixed"
        ) from error
    mark.unlink()


def _check_network() -> None:
    """Check that the host of public datasets answers; minari's client would retry for half a minute.

    Raises:
        OSError: It does not answer.
    """
    if os.environ.get("MINARI_REMOTE", "hf://").startswith("hf://"):
        address = os.environ.get("HF_ENDPOINT", "https://huggingface.co")
        with suppress(urllib.error.HTTPError):
            urllib.request.urlopen(address, timeout=PATIENCE_SECONDS).close()
