/**
 * Invariants at an apply: checked on a thread of their own against the documents that the apply would make, with whoever there is now.
 * The apply is then taken only if no document changed meanwhile, so that two of them cannot break together what neither breaks alone.
 */
import { witnessHopText } from '@bulkhead/policy';
import { AnalysisError } from '../analysis/analysis.ts';
import type { InvariantResult, Problem, Universe } from '@bulkhead/policy';
import type { Universes } from '../analysis/universe.ts';
import type { Analysis } from '../analysis/analysis.ts';
import type { Basis } from '../analysis/messages.ts';
import type { DocumentHistory } from './history.ts';

export interface InvariantChecker {
  /** What stands against it: invariants that it would break, or that cannot be checked. Empty when nothing does. */
  problems(basis: Basis, keys: ReadonlySet<string>): Promise<readonly Problem[]>;
  /** Every invariant of the documents of a revision. */
  results(basis: Basis, universe: Universe): Promise<readonly InvariantResult[]>;
}

export function createInvariantChecker(
  history: DocumentHistory,
  analysis: Analysis,
  universes: Universes,
): InvariantChecker {
  const results = async (basis: Basis, universe: Universe): Promise<readonly InvariantResult[]> => {
    // The thread reads the history's file: what it is asked about must be there.
    await history.documentsRevision(basis.revision);
    return (await analysis.ask('applies', { kind: 'prove', basis, universe })).results;
  };
  return {
    results,
    async problems(basis, keys) {
      const universe = universes.of(keys, basis.set);
      try {
        const broken = (await results(basis, universe)).filter(({ outcome }) => outcome.kind !== 'holds');
        if (broken.length === 0) return [];
        // One that is broken already, since workloads came that it did not know, must not keep its own cure away.
        const before = await results({ revision: basis.revision, set: [], removed: [] }, universe);
        const known = new Set(before.filter(({ outcome }) => outcome.kind !== 'holds').map(({ name }) => name));
        const given = new Set(basis.set.flatMap(({ kind, metadata }) => (kind === 'Invariant' ? [metadata.name] : [])));
        return broken.filter(({ name }) => given.has(name) || !known.has(name)).map(problemOf);
      } catch (error) {
        if (!(error instanceof AnalysisError)) throw error;
        return [{ path: '', reason: `the invariants cannot be checked: ${error.message}` }];
      }
    },
  };
}

function problemOf(result: InvariantResult): Problem {
  return {
    document: `Invariant/${result.name}`,
    path: `spec.${result.invariant}`,
    reason: brokenBecause(result),
    allowed: 'documents under which it holds; bulkhead prove -f shows the way round it',
  };
}

function brokenBecause({ outcome }: InvariantResult): string {
  switch (outcome.kind) {
    case 'broken':
      return `the change would break it: ${outcome.witness.map(witnessHopText).join('; ')}`;
    case 'not-checked':
      return `whether the change would break it cannot be checked: ${outcome.why}`;
    case 'holds':
      throw new Error('an invariant that holds is no problem');
  }
}
