"""Encodes the columns of a Parquet file again with pyarrow, the same settings, one thread."""
import io
import sys
import time

import pyarrow as pa
import pyarrow.parquet as pq

path, runs = sys.argv[1], int(sys.argv[2])
pa.set_cpu_count(1)
pa.set_io_thread_count(1)
table = pq.read_table(path, use_threads=False).combine_chunks()
packed = [field.name for field in table.schema if pa.types.is_integer(field.type) or pa.types.is_timestamp(field.type)]
words = [field.name for field in table.schema if field.name not in packed and not pa.types.is_boolean(field.type)]


def encode():
    out = io.BytesIO()
    pq.write_table(
        table,
        out,
        compression="zstd",
        compression_level=3,
        use_dictionary=words,
        column_encoding={name: "DELTA_BINARY_PACKED" for name in packed},
        store_decimal_as_integer=True,
        write_page_index=True,
        row_group_size=1 << 20,
    )
    return out.tell()


rates = []
for _ in range(runs):
    begun = time.process_time()
    size = encode()
    rates.append(table.num_rows / (time.process_time() - begun))
rate = sorted(rates)[len(rates) // 2]
print(f"Parquet, pyarrow {pa.__version__:14}{rate:>10.0f} rows per processor second, {size / table.num_rows:.2f} bytes a row")
