/** What an apply asks for and what becomes of it. */
import { parseDocument } from '@bulkhead/policy';
import type { Document, Problem } from '@bulkhead/policy';
import type { DocumentKey } from '../store/commands.ts';

/** Most documents of one apply. */
export const documentsPerApplyMax = 10_000;
/** Largest document, bytes of its JSON: with what is around it, it must fit one frame to the agents. */
export const documentBytesMax = 2 * 1024 * 1024;
export interface ApplyRequest {
  readonly documents: readonly {
    readonly value: unknown;
    readonly file?: string | undefined;
    readonly index?: number | undefined;
  }[];
  readonly removed: readonly DocumentKey[];
  /** Judge and say what would change, and change nothing. */
  readonly dryRun: boolean;
  /** Nothing is taken if a document changed after this revision; without it whatever is there is changed. */
  readonly expectRevision?: number | null;
  /** Takes documents too that may cut hosts off. */
  readonly force?: boolean;
}

export interface DocumentChange {
  readonly kind: string;
  readonly name: string;
  readonly change: 'created' | 'changed' | 'unchanged' | 'removed';
  readonly before: Document | null;
  readonly after: Document | null;
}

export type ApplyResult =
  | {
      readonly kind: 'applied';
      readonly changes: readonly DocumentChange[];
      /** Workloads that get another identity, since other labels count now. */
      readonly relabelled: number;
      /** Revision that made it so; of a dry run, the present one. */
      readonly revision: number;
    }
  | { readonly kind: 'changed-meanwhile'; readonly expected: number; readonly revision: number }
  | { readonly kind: 'refused'; readonly problems: readonly Problem[] }
  | { readonly kind: 'out-of-scope'; readonly problems: readonly Problem[] };

/** What an apply would do to the documents of a revision. */
export type Preview =
  | {
      readonly kind: 'preview';
      readonly revision: number;
      readonly set: readonly Document[];
      readonly removed: readonly DocumentKey[];
    }
  | Exclude<ApplyResult, { kind: 'applied' }>;

export interface Parsed {
  readonly kind: 'ok';
  readonly documents: readonly Document[];
  /** Where they came from, for messages. */
  readonly files: ReadonlyMap<Document, string>;
}

export type ParsedAll = Parsed | Extract<ApplyResult, { kind: 'refused' }>;

export function parseAll(request: ApplyRequest): ParsedAll {
  if (request.documents.length + request.removed.length > documentsPerApplyMax) {
    return {
      kind: 'refused',
      problems: [{ path: '', reason: `more than ${documentsPerApplyMax} documents in one apply` }],
    };
  }
  const documents: Document[] = [];
  const files = new Map<Document, string>();
  const problems: Problem[] = [];
  request.documents.forEach(({ value, file, index }, position) => {
    if (Buffer.byteLength(JSON.stringify(value) ?? '') > documentBytesMax) {
      const reason = `the document is larger than ${documentBytesMax} bytes; write several`;
      problems.push({
        path: '',
        reason,
        document: `document ${(index ?? position) + 1}`,
        ...(file === undefined ? {} : { file }),
      });
      return;
    }
    const parsed = parseDocument(value, { index: index ?? position, ...(file === undefined ? {} : { file }) });
    if (parsed.kind !== 'ok') return problems.push(...parsed.problems);
    if (file !== undefined) files.set(parsed.document, file);
    return documents.push(parsed.document);
  });
  return problems.length > 0 ? { kind: 'refused', problems } : { kind: 'ok', documents, files };
}
