/** NDJSON to one reader: a line per value, an empty line while nothing happens, an end when the reader is too slow. */
import type { FastifyReply } from 'fastify';
import type { Unsubscribe } from '../services.ts';
import type { LineStream } from './handler.ts';

/** Bytes that wait for a reader, at most. */
const unreadBytesMax = 4 * 1024 * 1024;
const stillHereMs = 15_000;

/** Takes the response over. The stream ends when the reader goes, is too slow, may not read any more, or the source says so. */
export function sendLines(reply: FastifyReply, stream: LineStream, mayRead: () => boolean): void {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  raw.flushHeaders();
  let over = false;
  let close: Unsubscribe | null = null;
  const finish = () => {
    if (over) return;
    over = true;
    clearInterval(timer);
    close?.();
  };
  const write = (value: unknown): boolean => {
    if (over) return false;
    return send(`${JSON.stringify(value)}\n`);
  };
  const send = (line: string): boolean => {
    if (raw.writableLength <= unreadBytesMax && mayRead()) {
      raw.write(line);
      return true;
    }
    finish();
    // A cut connection, and no proper end: the reader must not take what it has for everything.
    raw.destroy();
    return false;
  };
  const timer = setInterval(() => send('\n'), stillHereMs);
  raw.on('close', finish);
  close = stream.open(write, () => {
    finish();
    raw.end();
  });
  // It may have ended while it was being opened.
  if (over) close();
}
