import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createLogger } from './logger.ts';

test('an error in the log says what failed, and why', () => {
  const lines: string[] = [];
  const logger = createLogger('info', { write: (line) => void lines.push(line) });
  const error = new Error('the ledger cannot be written', { cause: new Error('no space left') });
  logger.error({ error }, 'request failed');
  logger.warn({ error: 'only text' }, 'link error');
  assert.match(lines[0]!, /the ledger cannot be written/);
  assert.match(lines[0]!, /no space left/);
  assert.match(lines[1]!, /"error":"only text"/);
});
