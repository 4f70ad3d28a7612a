/**
 * Writes columns of numbers and strings into a DuckDB appender chunk by chunk. Numbers are copied as blocks of memory: through the
 * library's row-wise setters the same takes some ten times as long.
 */
import bindings from '@duckdb/node-bindings';
import { DOUBLE, DuckDBDataChunk, INTEGER, VARCHAR } from '@duckdb/node-api';
import type { DuckDBAppender, DuckDBType } from '@duckdb/node-api';

export type ColumnArray = Int32Array<ArrayBuffer> | Float64Array<ArrayBuffer> | readonly string[];

function typeOf(column: ColumnArray): DuckDBType {
  if (column instanceof Int32Array) return INTEGER;
  return column instanceof Float64Array ? DOUBLE : VARCHAR;
}

/** All columns have `rows` elements or more. An empty string becomes NULL. */
export function appendRows(appender: DuckDBAppender, columns: readonly ColumnArray[], rows: number): void {
  const chunkRows = bindings.vector_size();
  const types = columns.map(typeOf);
  for (let from = 0; from < rows; from += chunkRows) {
    const count = Math.min(chunkRows, rows - from);
    const chunk = DuckDBDataChunk.create(types, count);
    columns.forEach((column, place) => fill(bindings.data_chunk_get_vector(chunk.chunk, place), column, from, count));
    appender.appendDataChunk(chunk);
  }
}

function fill(
  vector: ReturnType<typeof bindings.data_chunk_get_vector>,
  column: ColumnArray,
  from: number,
  count: number,
): void {
  if (column instanceof Int32Array || column instanceof Float64Array) {
    const size = column.BYTES_PER_ELEMENT;
    bindings.copy_data_to_vector(vector, 0, column.buffer, column.byteOffset + from * size, count * size);
    return;
  }
  let validity: BigUint64Array<ArrayBuffer> | null = null;
  for (let row = 0; row < count; row += 1) {
    const text = column[from + row]!;
    if (text === '') {
      // One bit a row, 1 where there is a value.
      validity ??= new BigUint64Array(Math.ceil(count / 64)).fill(0xffff_ffff_ffff_ffffn);
      const word = row >> 6;
      validity[word] = validity[word]! & ~(1n << BigInt(row & 63));
    } else bindings.vector_assign_string_element(vector, row, text);
  }
  if (validity === null) return;
  bindings.vector_ensure_validity_writable(vector);
  bindings.copy_data_to_vector_validity(vector, 0, validity.buffer, 0, validity.byteLength);
}
