/** What crosses between the manager and a thread that analyses. */
import type {
  Document,
  Explanation,
  Flow,
  InvariantReport,
  PolicyDifference,
  Recommendation,
  RecommendOptions,
  RecordedFlows,
  SimulationResult,
  Universe,
} from '@bulkhead/policy';
import type { FlowExplanation, StoredFlow } from '@bulkhead/protocol';

/** Documents in force at a revision, with what is changed in them. */
export interface Basis {
  readonly revision: number;
  readonly set: readonly Document[];
  readonly removed: readonly { readonly kind: string; readonly name: string }[];
}

export type AnalysisRequest =
  | { readonly kind: 'explain'; readonly revision: number; readonly flow: Flow }
  | { readonly kind: 'explain-flow'; readonly revisions: readonly number[]; readonly flow: StoredFlow }
  | { readonly kind: 'diff'; readonly before: Basis; readonly after: Basis; readonly universe: Universe }
  | { readonly kind: 'simulate'; readonly proposed: Basis; readonly flows: RecordedFlows }
  | { readonly kind: 'prove'; readonly basis: Basis; readonly universe: Universe }
  | {
      readonly kind: 'recommend';
      readonly basis: Basis;
      readonly flows: RecordedFlows;
      readonly universe: Universe;
      readonly options: RecommendOptions;
    };

export interface AnalysisAnswers {
  readonly explain: { readonly explanation: Explanation; readonly text: string };
  readonly 'explain-flow': FlowExplanation;
  readonly diff: PolicyDifference;
  readonly simulate: SimulationResult;
  readonly prove: InvariantReport;
  readonly recommend: Recommendation;
}

export interface WorkerOptions {
  /** The file of the history of documents. */
  readonly path: string;
}

export type WorkerAnswer =
  | { readonly kind: 'answer'; readonly value: AnalysisAnswers[keyof AnalysisAnswers] }
  | { readonly kind: 'failed'; readonly reason: string };
