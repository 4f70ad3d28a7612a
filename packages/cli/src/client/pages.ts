/** Lists come in pages; people want the first so many, and to be told when there are more. */
import type { ApiResult } from '@bulkhead/protocol';
import { valueOf } from './failure.ts';

/** Rows of one request. */
const pageRows = 500;

export interface Collected<Item> {
  readonly items: readonly Item[];
  /** There are more than were asked for. */
  readonly more: boolean;
}

interface Page<Item> {
  readonly items: readonly Item[];
  readonly cursor: string | null;
}

export async function collect<Item>(
  limit: number,
  page: (request: { readonly limit: number; readonly cursor?: string }) => Promise<ApiResult<Page<Item>>>,
): Promise<Collected<Item>> {
  const items: Item[] = [];
  let cursor: string | null = null;
  do {
    const wanted = Math.min(pageRows, limit - items.length);
    const { items: next, cursor: following }: Page<Item> = valueOf(
      await page({ limit: wanted, ...(cursor === null ? {} : { cursor }) }),
    );
    items.push(...next);
    cursor = following;
  } while (cursor !== null && items.length < limit);
  return { items: items.slice(0, limit), more: cursor !== null };
}
