/**
 * A look at untrusted CBOR before a decoder sees it. A decoder allocates what a header claims, follows tags and recurses; this walk
 * allocates nothing. It admits only what we write ourselves: definite lengths, text keys, integers below 2^32, 64-bit and 32-bit
 * floats, false, true, null, byte strings without tags (RFC 8949, majors 0–5 and 7).
 */

/** Deepest nesting of arrays and maps. The deepest message of ours has seven levels; documents nest further. */
export const nestingMax = 32;

/** Returns null when the bytes are exactly one admissible item, else why not. `from` is the first byte of it. */
export function scanCbor(bytes: Uint8Array, from: number): string | null {
  // Items still to read on each level of nesting.
  const pending: number[] = [1];
  // Whether the level is a map whose next item is a key.
  const isMap: boolean[] = [false];
  let at = from;
  while (pending.length > 0) {
    const level = pending.length - 1;
    const left = pending[level]!;
    if (left === 0) {
      pending.pop();
      isMap.pop();
      continue;
    }
    pending[level] = left - 1;
    if (at >= bytes.length) return `ends early at byte ${at}`;
    const head = readHead(bytes, at);
    if (typeof head === 'string') return head;
    // A map holds an even number of items, so an even remainder means that a key is next.
    if (isMap[level] === true && left % 2 === 0 && head.major !== 3) return `a key that is no text at byte ${at}`;
    at = head.next;
    if (head.major === 2 || head.major === 3) {
      if (head.value > bytes.length - at) return `a string longer than the frame at byte ${at}`;
      at += head.value;
    } else if (head.major === 4 || head.major === 5) {
      const items = head.major === 5 ? head.value * 2 : head.value;
      // Every item takes at least one byte.
      if (items > bytes.length - at) return `a list longer than the frame at byte ${at}`;
      if (pending.length > nestingMax) return `nested deeper than ${nestingMax} at byte ${at}`;
      pending.push(items);
      isMap.push(head.major === 5);
    }
  }
  return at === bytes.length ? null : `${bytes.length - at} bytes after the end`;
}

interface Head {
  readonly major: number;
  readonly value: number;
  readonly next: number;
}

function readHead(bytes: Uint8Array, at: number): Head | string {
  const first = bytes[at]!;
  const major = first >> 5;
  const info = first & 31;
  if (major === 6) return `a tag at byte ${at}`;
  if (major === 7) {
    const size = info === 20 || info === 21 || info === 22 ? 0 : info === 26 ? 4 : info === 27 ? 8 : -1;
    if (size < 0) return `an unusual simple value at byte ${at}`;
    return at + 1 + size > bytes.length ? `ends early at byte ${at}` : { major, value: 0, next: at + 1 + size };
  }
  if (info < 24) return { major, value: info, next: at + 1 };
  if (info > 26) return `a length or integer of more than 32 bits, or indefinite, at byte ${at}`;
  const size = 1 << (info - 24);
  if (at + 1 + size > bytes.length) return `ends early at byte ${at}`;
  let value = 0;
  for (let i = 1; i <= size; i += 1) value = value * 256 + bytes[at + i]!;
  return { major, value, next: at + 1 + size };
}
