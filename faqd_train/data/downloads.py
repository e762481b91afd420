"""Get an official archive over the network, checked before it is used."""

from __future__ import annotations

from pathlib import Path

import pooch
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn


def download(url: str, sha256: str, folder: Path) -> Path:
    """Return the file that a URL names, from the folder if it is there already.

    Parameters
    ----------
    url : str
        Where it lies; its last part names the file.
    sha256 : str
        What the file must have; one that has not is not kept.
    folder : Path
        Where it is kept.

    Raises
    ------
    ValueError
        If it cannot be reached, or what comes is another file.
    """
    name = url.rsplit("/", 1)[-1]
    pooch.get_logger().setLevel("WARNING")  # the bar shows the rest
    try:
        with _Bar(name) as bar:
            fetch = pooch.HTTPDownloader(progressbar=bar, timeout=30)
            return Path(
                pooch.retrieve(url, f"sha256:{sha256}", fname=name, path=folder, downloader=fetch)
            )
    except OSError as error:  # requests' errors are of this kind
        raise ValueError(
            f"{url} cannot be downloaded ({type(error).__name__}); where there is no network, "
            f"give the folder that holds {name} in data.dir."
        ) from None
    except ValueError:
        raise ValueError(
            f"{url} gave another file than the official one (its SHA-256 differs); try again, or "
            f"give the folder that holds {name} in data.dir."
        ) from None


class _Bar:
    """Pooch's interface to a progress bar, shown on a terminal only."""

    total = 0

    def __init__(self, name: str) -> None:
        console = Console(stderr=True)
        columns = (TextColumn(name), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self._progress = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._progress.add_task(name, total=None)

    def __enter__(self) -> _Bar:
        self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def update(self, count: int) -> None:
        self._progress.update(self._task, advance=count, total=self.total)

    def reset(self) -> None:
        """Do nothing: pooch resets the bar at the end to make it full."""

    def close(self) -> None:
        """Do nothing: the context closes the bar."""
