"""Writes the Parquet and NumPy files that VectorFilesTests reads, with the PyPI packages pyarrow and numpy.

Row r of a file has the id "row-r" and the numbers (10 r + c) / 8, which are exact also as float16.
"""
import pathlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

HERE = pathlib.Path(__file__).parent
ROWS, WIDTH = 50, 6
NUMBERS = (10 * np.arange(ROWS)[:, None] + np.arange(WIDTH)) / 8
LISTS = NUMBERS.tolist()
IDS = [f"row-{r}" for r in range(ROWS)]


def write(name, columns, **options):
    pq.write_table(pa.table(columns), HERE / f"{name}.parquet", **options)


# What pyarrow and pandas do by default, in several pages and row groups.
write(
    "default",
    {
        "id": IDS,
        "embedding": pa.array(LISTS, pa.list_(pa.float32())),
        "text": [None if r % 7 == 3 else f"text {r % 3}" for r in range(ROWS)],
        "stars": pa.array([None if r % 5 == 0 else r * 1000003 for r in range(ROWS)], pa.int64()),
        "score": pa.array([r / 4 for r in range(ROWS)], pa.float64()),
        "fresh": [r % 3 == 0 for r in range(ROWS)],
    },
    row_group_size=20,
    data_page_size=64,
    write_batch_size=4,
)
write(
    "plain-v2",
    {"key": pa.array(range(ROWS), pa.uint32()), "vector": pa.array(LISTS, pa.list_(pa.float64(), WIDTH))},
    compression="none",
    use_dictionary=False,
    data_page_version="2.0",
    data_page_size=64,
    write_batch_size=4,
)
write(
    "dictionary-v2",
    {"vector": pa.array(LISTS, pa.list_(pa.float32()))},
    data_page_version="2.0",
)
write(
    "half-split",
    {"vector": pa.array([list(map(np.float16, row)) for row in LISTS], pa.list_(pa.float16()))},
    use_dictionary=False,
    use_byte_stream_split=True,
)
write(
    "float-split",
    {"vector": pa.array(LISTS, pa.list_(pa.float32()))},
    use_dictionary=False,
    use_byte_stream_split=True,
)
write(
    "holes",
    {
        "id": ["full", None, "null", "empty", "hole", "short", "last"],
        "vector": pa.array([[1.0, 2.0], [3.0, 4.0], None, [], [5.0, None], [6.0], [7.0, 8.0]], pa.list_(pa.float32())),
    },
)
write("zstd", {"vector": pa.array(LISTS, pa.list_(pa.float32()))}, compression="zstd")
write(
    "delta",
    {"id": IDS, "vector": pa.array(LISTS, pa.list_(pa.float32()))},
    use_dictionary=False,
    column_encoding={"id": "DELTA_BYTE_ARRAY"},
)
write("whole", {"vector": pa.array([[1, 2]], pa.list_(pa.int32())), "day": pa.array([1], pa.date32())})

for kind in ["f2", "f4", "f8"]:
    np.save(HERE / f"{kind}.npy", NUMBERS.astype("<" + kind))
np.save(HERE / "fortran.npy", np.asfortranarray(NUMBERS.astype("<f4")))
np.save(HERE / "big.npy", NUMBERS.astype(">f4"))
np.save(HERE / "flat.npy", NUMBERS.astype("<f4")[0])
