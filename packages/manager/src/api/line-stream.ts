/** NDJSON to one reader: a line per value, an empty line while nothing happens, an end or a wait when the reader is too slow. */
import { once } from 'node:events';
import type { FastifyReply } from 'fastify';
import type { ServerResponse } from 'node:http';
import type { Unsubscribe } from '../services.ts';
import type { LineSource, LineStream } from './handler.ts';

/** Bytes that wait for a reader: a burst may bring more than the first number, but not stay above it for long, nor reach the second. */
const unreadBytesUsual = 4 * 1024 * 1024;
const unreadBytesMax = 32 * 1024 * 1024;
const burstMs = 10_000;
const stillHereMs = 15_000;
/** How long a reader of a source may take no byte at all. */
const stalledMs = 60_000;

/**
 * What happens, as it happens: it waits for nobody. Takes the response over; ends when the reader goes, is too slow, may not read any
 * more, or the source says so. What `open` throws is thrown before anything is sent.
 */
export function sendLines(reply: FastifyReply, stream: LineStream, mayRead: () => boolean): void {
  const { raw } = reply;
  let begun = false;
  let over = false;
  let close: Unsubscribe | null = null;
  let timer: NodeJS.Timeout | undefined;
  let burstSinceMs: number | null = null;
  const tooSlow = (): boolean => {
    if (raw.writableLength <= unreadBytesUsual) burstSinceMs = null;
    else burstSinceMs ??= performance.now();
    const lastedMs = burstSinceMs === null ? 0 : performance.now() - burstSinceMs;
    return raw.writableLength > unreadBytesMax || lastedMs > burstMs;
  };
  const begin = () => {
    if (begun) return;
    begun = true;
    takeOver(reply);
  };
  const finish = () => {
    if (over) return;
    over = true;
    clearInterval(timer);
    close?.();
  };
  const send = (line: string): boolean => {
    if (over) return false;
    begin();
    if (!tooSlow() && mayRead()) {
      raw.write(line);
      return true;
    }
    finish();
    // A cut connection, and no proper end: the reader must not take what it has for everything.
    raw.destroy();
    return false;
  };
  close = stream.open(
    (value) => send(`${JSON.stringify(value)}\n`),
    () => {
      begin();
      finish();
      raw.end();
    },
  );
  begin();
  // It may have ended while it was being opened.
  if (over) return close();
  timer = setInterval(() => send('\n'), stillHereMs);
  raw.on('close', finish);
  if (raw.destroyed) finish();
}

/** What is there, all of it, as fast as the reader takes it. Resolves when it has ended, in whatever way. */
export async function sendSource(reply: FastifyReply, source: LineSource, mayRead: () => boolean): Promise<void> {
  const { raw } = reply;
  takeOver(reply);
  try {
    for await (const value of source.lines) {
      if (raw.destroyed || !mayRead()) return void raw.destroy();
      if (!raw.write(`${JSON.stringify(value)}\n`)) await drained(raw);
    }
    raw.end();
  } catch (error) {
    // The reader went, stalled, or the source failed: a cut connection, so that nobody takes what came for everything.
    raw.destroy();
    throw error;
  }
}

/** The reader went away or takes nothing any more. */
export class ReaderGoneError extends Error {
  constructor(cause: unknown) {
    super('The reader has gone, or takes nothing any more.', { cause });
    this.name = 'ReaderGoneError';
  }
}

async function drained(raw: ServerResponse): Promise<void> {
  const gone = new AbortController();
  const leave = () => gone.abort();
  raw.once('close', leave);
  try {
    await once(raw, 'drain', { signal: AbortSignal.any([gone.signal, AbortSignal.timeout(stalledMs)]) });
  } catch (cause) {
    throw new ReaderGoneError(cause);
  } finally {
    raw.off('close', leave);
  }
}

function takeOver(reply: FastifyReply): void {
  reply.hijack();
  reply.raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  reply.raw.flushHeaders();
}
