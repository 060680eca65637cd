"""Reading and writing files: atomic writes, checksums, JSON metadata, Parquet and CSV."""

from typing import TYPE_CHECKING

from mlcslm._lazy import lazy_exports

if TYPE_CHECKING:
    from mlcslm.io.csv import write_csv as write_csv
    from mlcslm.io.files import atomic_path as atomic_path
    from mlcslm.io.files import fingerprint as fingerprint
    from mlcslm.io.files import read_json as read_json
    from mlcslm.io.files import read_rows as read_rows
    from mlcslm.io.files import sha256 as sha256
    from mlcslm.io.files import write_json as write_json
    from mlcslm.io.metadata import changed_files as changed_files
    from mlcslm.io.metadata import read_metadata as read_metadata
    from mlcslm.io.parquet import read_table as read_table
    from mlcslm.io.parquet import write_table as write_table

__getattr__, __dir__, __all__ = lazy_exports(
    __name__,
    {
        "mlcslm.io.csv": ("write_csv",),
        "mlcslm.io.files": ("atomic_path", "fingerprint", "read_json", "read_rows", "sha256", "write_json"),
        "mlcslm.io.metadata": ("changed_files", "read_metadata"),
        "mlcslm.io.parquet": ("read_table", "write_table"),
    },
)
