/** NDJSON to one reader: a line per value, an empty line while nothing happens, an end when the reader is too slow. */
import type { FastifyReply } from 'fastify';
import type { LineStream } from './handler.ts';

/** Bytes that wait for a reader, at most. */
const unreadBytesMax = 4 * 1024 * 1024;
const stillHereMs = 15_000;

/** Takes the response over. The stream ends when the reader goes, is too slow, or the source says so. */
export function sendLines(reply: FastifyReply, stream: LineStream): void {
  reply.hijack();
  const { raw } = reply;
  raw.writeHead(200, { 'content-type': 'application/x-ndjson', 'cache-control': 'no-store' });
  raw.flushHeaders();
  let over = false;
  const timer = setInterval(() => raw.write('\n'), stillHereMs);
  const finish = () => {
    if (over) return;
    over = true;
    clearInterval(timer);
    close();
  };
  const write = (value: unknown): boolean => {
    if (over) return false;
    if (raw.writableLength > unreadBytesMax) {
      finish();
      // A cut connection, and no proper end: the reader must not take what it has for everything.
      raw.destroy();
      return false;
    }
    raw.write(`${JSON.stringify(value)}\n`);
    return true;
  };
  raw.on('close', finish);
  const close = stream.open(write, () => {
    finish();
    raw.end();
  });
}
