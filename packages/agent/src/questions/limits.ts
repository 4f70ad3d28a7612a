/** Bounds of everything that waits here. What exceeds one is refused, and counted under its name. */
export const questionLimits = {
  /** Questions without an answer yet. */
  questionsMax: 16_384,
  /** Held packets in all, as many as the kernel has ids for, and of one sending endpoint. */
  packetsMax: 16_384,
  packetsPerEndpointMax: 512,
  bytesMax: 64 * 1024 * 1024,
  /** Held packets of one question. */
  packetsPerQuestionMax: 256,
  /** However long an answer says that a packet may wait. The kernel forgets it after 900 s. */
  pendingMsMax: 890_000,
  /** Packets of and to a workload whose labels are not known yet. */
  unknownMs: 10_000,
  /** Questions in one message. */
  questionsPerMessageMax: 2_000,
  /** Connections whose question is remembered, so that the flow can name it. */
  attributionsMax: 16_384,
} as const;
