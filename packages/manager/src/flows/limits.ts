/** Bounds of the flow store. What is beyond one is refused to the agent, which keeps it and sends it again, or is counted. */

/** Flows handed in and not stored yet. */
export const bufferedFlowsMax = 400_000;
/** Flows of one transaction. */
export const transactionFlowsMax = 100_000;
/** Distinct ends and texts in the encoder's memory. Beyond it they are numbered anew, which costs space and nothing else. */
export const dictionaryMax = 100_000;
/** Ends and texts that wait to be written. */
export const meaningsMax = 4 * dictionaryMax;
/** Flows that are not closed, and flows closed lately, whose later records replace the earlier one. */
export const openFlowsMax = 300_000;
export const closedFlowsMax = 50_000;
/** Searches that wait for their turn, and how long one may take, milliseconds. */
export const queriesMax = 64;
export const queryMs = 20_000;
/** Groups of flows that one analysis takes, and how long grouping them may take, milliseconds. */
export const groupsMax = 1_000_000;
export const groupMs = 60_000;
/** Analyses that wait for their flows. */
export const groupingsMax = 8;
/** Memory of the engine, and its threads: questions come first on a small machine. */
export const engineMemory = '64MB';
export const engineThreads = 1;
/** Live listeners. */
export const watchersMax = 200;
/** Retention is looked at this often, milliseconds; one look removes at most this part of all flows for the sake of size. */
export const retentionEveryMs = 60_000;
export const retentionPart = 0.25;
/** JavaScript memory of the worker, MiB: small garbage collected often rather than much of it seldom. */
export const workerLimits = { maxYoungGenerationSizeMb: 12, maxOldGenerationSizeMb: 256 } as const;
