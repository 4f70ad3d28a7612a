import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { nestingMax, scanCbor } from './cbor-scan.ts';
import {
  decodeAgentMessage,
  decodeManagerMessage,
  encodeAgentMessage,
  encodeManagerMessage,
  FrameTooLargeError,
} from './frame.ts';
import { frameBytesMax } from './link.ts';
import type { AgentMessage, ManagerMessage } from './link.ts';

const hello: AgentMessage = {
  type: 'hello',
  body: { version: 1, host: 'h1', boot: 'b', revision: 7, kernel: 'Linux 6.18', software: '0.1.0' },
};

test('a message comes back as it went', () => {
  assert.deepEqual(decodeAgentMessage(encodeAgentMessage(hello)), { kind: 'message', message: hello });
  const desired: ManagerMessage = {
    type: 'desired',
    body: {
      revision: 2 ** 40,
      from: 0,
      more: false,
      documents: [{ kind: 'Segment', metadata: { name: 's' }, nested: [[[{ deep: [1, -5, 2.5, null, true] }]]] }],
      documentsRemoved: [],
      identities: [[256, { app: 'web', text: 'é'.repeat(300) }]],
      identitiesRemoved: [],
      workloads: [],
      workloadsRemoved: ['h1/docker/abc'],
      auditHead: { sequence: 3, hash: 'x', signature: 'y' },
    },
  };
  assert.deepEqual(decodeManagerMessage(encodeManagerMessage(desired)), { kind: 'message', message: desired });
});

test('a fault names its place', () => {
  const bad = { type: 'hello', body: { ...hello.body, revision: -1 } } as AgentMessage;
  const decoded = decodeAgentMessage(encodeAgentMessage(bad));
  assert.equal(decoded.kind, 'malformed');
  assert.equal(decoded.kind === 'malformed' && decoded.path, 'hello.revision');
  const flows = {
    type: 'questions',
    body: { questions: [{ id: 'q', rules: [], extra: 1 }] },
  } as unknown as AgentMessage;
  const second = decodeAgentMessage(encodeAgentMessage(flows));
  assert.match(second.kind === 'malformed' ? second.path : '', /^questions\.questions\[0\]/);
});

test('messages of the other direction, unknown codes and empty frames are malformed', () => {
  assert.equal(decodeManagerMessage(encodeAgentMessage(hello)).kind, 'malformed');
  assert.equal(decodeAgentMessage(new Uint8Array()).kind, 'malformed');
  assert.equal(decodeAgentMessage(new Uint8Array([200, 0xa0])).kind, 'malformed');
});

test('too large is refused on both sides', () => {
  assert.equal(decodeAgentMessage(new Uint8Array(frameBytesMax + 1)).kind, 'malformed');
  const large = { type: 'goodbye', body: { reason: 'x'.repeat(frameBytesMax) } } as ManagerMessage;
  assert.throws(() => encodeManagerMessage(large), FrameTooLargeError);
});

test('the scan refuses what a decoder would allocate, follow or recurse into', () => {
  const refused: readonly (readonly number[])[] = [
    [0x9a, 0xff, 0xff, 0xff, 0xff], // an array of 2^32 items in five bytes
    [0xba, 0x7f, 0xff, 0xff, 0xff],
    [0x7a, 0xff, 0xff, 0xff, 0xff],
    [0xc1, 0x00], // tag
    [0x9f, 0xff], // indefinite
    [0xf7], // undefined
    [0x1b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
    [0xa1, 0x01, 0x01], // a key that is no text
    [0x00, 0x00], // something after the end
    Array.from({ length: nestingMax + 2 }, () => 0x81),
  ];
  for (const bytes of refused) assert.notEqual(scanCbor(new Uint8Array(bytes), 0), null, bytes.slice(0, 4).toString());
  assert.equal(scanCbor(new Uint8Array([0xa1, 0x61, 0x61, 0x82, 0x01, 0xf6]), 0), null);
});

test('no bytes make the decoders throw', () => {
  const codes = fc.constantFrom(1, 2, 3, 4, 5, 6, 7, 8, 9, 65, 66, 67, 68, 72);
  fc.assert(
    fc.property(codes, fc.uint8Array({ maxLength: 300 }), (code, rest) => {
      const frame = new Uint8Array([code, ...rest]);
      decodeAgentMessage(frame);
      decodeManagerMessage(frame);
    }),
    { numRuns: 5000 },
  );
});

test('a mutated message is refused or is a valid message, never a crash', () => {
  const frame = encodeAgentMessage(hello);
  fc.assert(
    fc.property(fc.nat(frame.length - 1), fc.nat(255), fc.nat(frame.length), (at, value, length) => {
      const mutated = frame.slice(0, length);
      if (at < mutated.length) mutated[at] = value;
      const decoded = decodeAgentMessage(mutated);
      if (decoded.kind === 'message') encodeAgentMessage(decoded.message);
    }),
    { numRuns: 5000 },
  );
});

test('whatever is encodable as JSON passes the scan and comes back, as documents do', () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 8 })), (value) => {
      const document = JSON.parse(JSON.stringify(value)) as Record<string, unknown>;
      if (JSON.stringify(document).includes('__proto__')) return;
      const body = {
        revision: 1,
        from: 0,
        more: false,
        documents: [document],
        documentsRemoved: [],
        identities: [],
        identitiesRemoved: [],
        workloads: [],
        workloadsRemoved: [],
        auditHead: null,
      };
      const decoded = decodeManagerMessage(encodeManagerMessage({ type: 'desired', body }));
      assert.ok(decoded.kind === 'message' && decoded.message.type === 'desired', JSON.stringify(decoded));
      assert.deepEqual(JSON.parse(JSON.stringify(decoded.message.body.documents[0])), document);
    }),
    { numRuns: 1000 },
  );
});
