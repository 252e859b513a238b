"""The facts of a model out of the csv of GAISSALabel's plug-in: ``model_size,file_size,flops``.

As the plug-in writes them: ``model_size`` is the number of parameters, ``file_size`` is in MiB, ``flops`` are the
floating-point operations of one inference of the input shape that was given, by the framework's own counting (PyTorch's
counts a multiply-add once, TensorFlow's twice). Energy is not in the file.
"""

from __future__ import annotations

from pathlib import Path

from wattbus.energy.figures import RunFigures, Source, Stage
from wattbus.imports.csv_table import CsvTable, Row
from wattbus.imports.imported import BadFigure, FileRun, Imported, not_negative, number

KIND = "GAISSALabel plug-in csv"
COLUMNS = ("model_size", "file_size", "flops")
BYTES_PER_MIB = 1024 * 1024
_NOT_KNOWN = ("n/a", "na", "none", "-")


def is_gaissa_csv(columns: list[str]) -> bool:
    """Tell whether the columns are the plug-in's."""
    return set(COLUMNS) <= set(columns)


def read_gaissa_csv(table: CsvTable) -> Imported:
    """Return each row as the facts of a model; what could not be counted is unknown."""
    found = Imported(table.called, KIND)
    for row in table.rows():
        found.check_room()
        try:
            found.runs.append(_run(row, table))
        except BadFigure as error:
            found.skip(f"row {row.number}", str(error))
    return found


def _run(row: Row, table: CsvTable) -> FileRun:
    parameters, mebibytes, flops = (_figure(row, column, table.decimal) for column in COLUMNS)
    if parameters is None and mebibytes is None and flops is None:
        raise BadFigure("none of its three figures is known")
    if parameters is not None and parameters != int(parameters):
        raise BadFigure(f"model_size is {parameters:g}, and a number of parameters is whole")
    stem = Path(table.called).stem
    title = stem if row.number == 1 else f"{stem}, row {row.number}"
    figures = RunFigures(
        name=f"{title}, plug-in",
        stage=Stage.INFERENCE,
        source=Source.IMPORTED,
        origin=f"{table.called}, row {row.number}",
        parameters=None if parameters is None else int(parameters),
        size_bytes=None if mebibytes is None else round(mebibytes * BYTES_PER_MIB),
        flops=flops,
        method="GAISSALabel plug-in",
    )
    return FileRun(row.number, None, figures)


def _figure(row: Row, column: str, decimal: str) -> float | None:
    text = (row.cells.get(column) or "").strip()
    if text.lower() in _NOT_KNOWN:
        return None
    try:
        return not_negative(number(text, decimal=decimal))
    except BadFigure as error:
        raise BadFigure(f"{column}: {error}") from None
