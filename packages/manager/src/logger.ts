import { pino } from 'pino';
import type { DestinationStream, Logger } from 'pino';
import type { LogLevel } from './log-levels.ts';

/** One JSON object a line. An error under `error` is told with message, stack and causes: by itself JSON makes nothing of one. */
export function createLogger(level: LogLevel, destination: DestinationStream): Logger {
  return pino({ level, serializers: { error: pino.stdSerializers.errWithCause } }, destination);
}
