/**
 * Frames of the agent link: one byte that says which message, then its body in CBOR. What comes from the other side is scanned
 * (cbor-scan.ts) before it is decoded, and checked against its schema before anyone sees it.
 */
import { Encoder } from 'cbor-x/index-no-eval';
import type { z } from 'zod';
import { scanCbor } from './cbor-scan.ts';
import { agentMessages, frameBytesMax, managerMessages } from './link.ts';
import type { AgentMessage, ManagerMessage } from './link.ts';

/** The first byte. Numbers are never given to another message. */
export const agentMessageCode = {
  hello: 1,
  workloads: 2,
  receipt: 3,
  questions: 4,
  outcomes: 5,
  flows: 6,
  divergences: 7,
  status: 8,
  renew: 9,
} as const satisfies Record<AgentMessage['type'], number>;

export const managerMessageCode = {
  welcome: 65,
  desired: 66,
  decisions: 67,
  ack: 68,
  enforcement: 69,
  adopt: 70,
  goodbye: 71,
  certificate: 72,
} as const satisfies Record<ManagerMessage['type'], number>;

export type Decoded<Message> =
  | { readonly kind: 'message'; readonly message: Message }
  /** `path` names the place in the message, e.g. `flows.flows[3].verdict`, or `frame`. */
  | { readonly kind: 'malformed'; readonly path: string; readonly reason: string };

/** A message of our own that does not fit a frame: the caller must split its lists. */
export class FrameTooLargeError extends Error {
  constructor(type: string, bytes: number) {
    super(`Message ${type} takes ${bytes} bytes, more than ${frameBytesMax}.`);
    this.name = 'FrameTooLargeError';
  }
}

export function encodeAgentMessage(message: AgentMessage): Uint8Array {
  return encode(agentMessageCode[message.type], message.type, message.body);
}

export function encodeManagerMessage(message: ManagerMessage): Uint8Array {
  return encode(managerMessageCode[message.type], message.type, message.body);
}

/** Never throws, whatever the bytes. */
export function decodeAgentMessage(frame: Uint8Array): Decoded<AgentMessage> {
  return decode(frame, agentTypes, agentMessages) as Decoded<AgentMessage>;
}

/** Never throws, whatever the bytes. */
export function decodeManagerMessage(frame: Uint8Array): Decoded<ManagerMessage> {
  return decode(frame, managerTypes, managerMessages) as Decoded<ManagerMessage>;
}

// Plain maps, no records, no tags: what scanCbor admits.
const codec = new Encoder({ useRecords: false, mapsAsObjects: true, variableMapSize: true, tagUint8Array: false });

const agentTypes = invert(agentMessageCode);
const managerTypes = invert(managerMessageCode);

function invert(codes: Readonly<Record<string, number>>): ReadonlyMap<number, string> {
  return new Map(Object.entries(codes).map(([type, code]) => [code, type]));
}

function encode(code: number, type: string, body: unknown): Uint8Array {
  const encoded = codec.encode(body);
  if (encoded.length + 1 > frameBytesMax) throw new FrameTooLargeError(type, encoded.length + 1);
  const frame = new Uint8Array(encoded.length + 1);
  frame[0] = code;
  frame.set(encoded, 1);
  return frame;
}

function decode(
  frame: Uint8Array,
  types: ReadonlyMap<number, string>,
  schemas: Readonly<Record<string, z.ZodType>>,
): Decoded<{ type: string; body: unknown }> {
  if (frame.length > frameBytesMax) return malformed('frame', `${frame.length} bytes, more than ${frameBytesMax}`);
  const code = frame[0];
  const type = code === undefined ? undefined : types.get(code);
  if (type === undefined) return malformed('frame', code === undefined ? 'empty' : `unknown message code ${code}`);
  const fault = scanCbor(frame, 1);
  if (fault !== null) return malformed(type, fault);
  let body: unknown;
  try {
    body = codec.decode(frame.subarray(1));
  } catch (error) {
    // The scan admits only what decodes; text that is not UTF-8 is what is left.
    return malformed(type, `undecodable: ${error instanceof Error ? error.message : String(error)}`);
  }
  const parsed = schemas[type]!.safeParse(body);
  if (parsed.success) return { kind: 'message', message: { type, body: parsed.data } };
  const issue = parsed.error.issues[0];
  return malformed(pathText(type, issue?.path ?? []), issue?.message ?? 'does not match the schema');
}

function malformed(path: string, reason: string): { kind: 'malformed'; path: string; reason: string } {
  return { kind: 'malformed', path: path.slice(0, 500), reason: reason.slice(0, 500) };
}

/** `flows`, `['flows', 3, 'verdict']` → `flows.flows[3].verdict`. */
export function pathText(root: string, path: readonly PropertyKey[]): string {
  let text = root;
  for (const part of path) {
    text += typeof part === 'number' ? `[${part}]` : text === '' ? String(part) : `.${String(part)}`;
  }
  return text;
}
