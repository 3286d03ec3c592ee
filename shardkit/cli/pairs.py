"""Options of the command line that are pairs, such as `--column id=ytid`."""

from collections.abc import Sequence

from shardkit.errors import UsageError

COLUMN_NEEDED = "OURS=THEIRS is needed, such as id=ytid"
ALSO_NEEDED = "ROLE=FILE is needed, such as audio=AVVP_eval_audio.csv"
FEATURES_NEEDED = "NAME=FILE.h5:DATASET or NAME=FOLDER is needed, such as vggish=audio_feature.h5:avadataset"
SPLIT_FILE_NEEDED = "SCHEME:SPLIT=FILE is needed, such as ave:train=train_order.h5"


def pairs(option: str, said: Sequence[str] | None, needed: str) -> dict[str, str]:
    """Name to value, from texts such as `id=ytid`.

    Raises:
        UsageError: A text is no such pair, for which `needed` says what one is; or a name is given twice.
    """
    found: dict[str, str] = {}
    for pair in said or ():
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise UsageError(f"{option} {pair}: {needed}")
        if name in found:
            raise UsageError(f"{option} {pair}: {name} is given twice; leave one of them out")
        found[name] = value
    return found


def split_files(said: Sequence[str] | None) -> dict[str, dict[str, str]]:
    """Scheme to split to file, from texts such as `ave:train=train_order.h5`.

    Raises:
        UsageError: A text is none such, or a split is given twice.
    """
    files: dict[str, dict[str, str]] = {}
    for name, file in pairs("--split-file", said, SPLIT_FILE_NEEDED).items():
        scheme, colon, split = name.partition(":")
        if not (scheme and colon and split):
            raise UsageError(f"--split-file {name}={file}: {SPLIT_FILE_NEEDED}")
        files.setdefault(scheme, {})[split] = file
    return files
