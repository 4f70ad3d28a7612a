/** Bounds of the work of analyses. They run beside the manager's own thread; what is beyond a bound is refused with its name. */

/** How long one analysis may take, milliseconds; then its thread is ended. */
export const analysisMs = 60_000;
/** Analyses that wait for their turn in one lane. */
export const waitingMax = 32;
/** A thread that had nothing to do for so long is ended, and its memory given back. */
export const idleMs = 120_000;
/** Memory of one thread, MiB. */
export const workerLimits = { maxOldGenerationSizeMb: 3072, maxYoungGenerationSizeMb: 64 } as const;
/** Sets of documents, by revision, that a thread keeps resolved. */
export const setsKept = 4;
/** Later revisions that are tried for a flow whose reasons its revision does not give: a host that was applying one stamps the one before. */
export const laterRevisionsMax = 16;
