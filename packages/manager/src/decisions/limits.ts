/** Bounds of the question service. What is beyond one is denied or left unanswered, and counted; it is never allowed. */

/** Questions of one host whose record is not durable yet. Beyond it they stay unanswered: the agent's `unreachable` decides. */
export const inFlightPerHostMax = 20_000;
/** Questions that wait for a human: in all, and of one host. Beyond it they are denied, with that as the reason. */
export const waitingMax = 10_000;
export const waitingPerHostMax = 2_000;
/** Human decisions that are remembered for later questions. Beyond it a decision holds for its connection only. */
export const rememberedMax = 100_000;
/** Late answers kept for one host until they expire. */
export const lateAnswersPerHostMax = 10_000;
/** Questions kept in the log; the oldest go first. */
export const logRowsMax = 10_000_000;
/** How many of the oldest go at once, and after how many new ones that is looked at. */
export const trimRowsMax = 2_000;
export const trimEvery = 1_000;
/** Rows looked at in one go while a page is searched, and how often before a page is given out half full. */
export const scanRowsMax = 2_000;
export const scanSlicesMax = 50;
/** Policy sets whose rules are kept ready: the one in force and the one before it. */
export const ruleSetsMax = 2;
/** A question's id starts with this many characters of its host's name, and a colon. */
export const hostPrefixMax = 24;
