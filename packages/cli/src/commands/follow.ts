/** `-f`: what is there, then what comes, until Ctrl-C. */
import type { Command } from 'commander';
import type { ApiClient, QuestionRecord, StoredFlow } from '@bulkhead/protocol';
import { connect } from '../client/connection.ts';
import { valueOf } from '../client/failure.ts';
import { stableJson, yamlText, type OutputFormat } from '../output/format.ts';
import { renderTable, type Column } from '../output/table.ts';
import type { Shell } from '../shell.ts';
import { outputFormatOf } from './options.ts';

type Stream<Item> =
  Awaited<ReturnType<ApiClient['watchFlows']>> extends infer Result
    ? Result extends { readonly kind: 'ok' }
      ? { readonly kind: 'ok'; readonly value: AsyncIterable<Item> }
      : Result
    : never;

export interface Followed<Item> {
  /** Newest first. */
  readonly list: (api: ApiClient) => Promise<readonly Item[]>;
  readonly watch: (api: ApiClient) => Promise<Stream<Item>>;
}

/** What is there already, then every new one: a line each, widths as the first rows had them. */
export async function follow<Item extends StoredFlow | QuestionRecord>(
  command: Command,
  shell: Shell,
  columns: readonly Column<Item>[],
  { list, watch }: Followed<Item>,
): Promise<void> {
  const print = createFollower(shell, outputFormatOf(command), columns);
  const over = new AbortController();
  try {
    const { api } = await connect(command, { ...shell, signal: AbortSignal.any([shell.signal, over.signal]) });
    // Watched before the list is read, so that nothing falls between the two; what is in both is shown once.
    const coming = valueOf(await watch(api));
    const shown = new Set<string>();
    const already = await list(api);
    if (already.length === 0) shell.terminal.err('nothing yet; waiting, until Ctrl-C');
    for (const item of already.toReversed()) {
      print(item);
      shown.add(stableJson(item, 0));
    }
    for await (const item of coming) if (!shown.delete(stableJson(item, 0))) print(item);
  } catch (error) {
    // Ctrl-C ends the watch; it is not a failure.
    if (!shell.signal.aborted) throw error;
  } finally {
    over.abort();
  }
}

function createFollower<Item>(
  shell: Shell,
  format: OutputFormat,
  columns: readonly Column<Item>[],
): (item: Item) => void {
  const { terminal } = shell;
  if (format === 'json') return (item) => terminal.out(stableJson(item, 0));
  if (format === 'yaml') return (item) => terminal.out(`---\n${yamlText(item)}`);
  const wide = format === 'wide';
  const shown = columns.filter((column) => wide || column.wide !== true);
  // Widths grow with what comes and never shrink, so that the lines stay under each other.
  const widths = shown.map((column) => column.title.length);
  let headed = false;
  return (item) => {
    for (const [index, column] of shown.entries()) widths[index] = Math.max(widths[index]!, column.value(item).length);
    const padded = shown.map((column, index) => ({
      ...column,
      title: column.title.padEnd(widths[index]!),
      value: (row: Item) => column.value(row).padEnd(index === shown.length - 1 ? 0 : widths[index]!),
    }));
    const lines = renderTable([item], padded, { paint: terminal.paint, wide, columnsMax: terminal.width });
    for (const line of headed ? lines.slice(1) : lines) terminal.out(line);
    headed = true;
  };
}
