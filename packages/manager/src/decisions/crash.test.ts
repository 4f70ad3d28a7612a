/** kill -9 at any moment: every answer that a client saw is in the log, with its question. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openSqliteQuestionLog } from './sqlite-question-log.ts';

const program = fileURLToPath(new URL('testing/asker.ts', import.meta.url));

/** Kills the asker once it has printed about so many bytes; gives the answers that were seen. */
async function killedAfter(file: string, boot: string, batch: number, bytes: number): Promise<Map<string, string>> {
  const child = spawn(process.execPath, [program, file, boot, String(batch)], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    if (text.length >= bytes) child.kill('SIGKILL');
  });
  await new Promise((resolve) => child.on('close', resolve));
  assert.equal(child.signalCode, 'SIGKILL');
  const complete = text.slice(0, text.lastIndexOf('\n') + 1);
  return new Map(
    complete
      .split(/\s+/)
      .filter(Boolean)
      .map((answer) => answer.split('=') as [string, string]),
  );
}

test('every answer that a client saw before kill -9 is in the log', async (context) => {
  const directory = mkdtempSync(join(tmpdir(), 'bulkhead-crash-'));
  try {
    const file = join(directory, 'questions.sqlite');
    const seen = new Map<string, string>();
    for (let round = 0; round < 8; round += 1) {
      const answers = await killedAfter(file, `boot${round}`, [1, 3, 50][round % 3]!, 2_000 + round * 7_919);
      for (const [id, verdict] of answers) seen.set(id, verdict);
    }
    await using log = openSqliteQuestionLog(file);
    const verdicts = { allow: 0, pending: 0 };
    for (const [id, verdict] of seen) {
      const { record } = log.find(id) ?? assert.fail(`${id} was answered ${verdict} and is not in the log`);
      assert.equal(record.state === 'waiting' ? 'pending' : record.verdict, verdict);
      verdicts[verdict as keyof typeof verdicts] += 1;
    }
    context.diagnostic(
      `8 kills, ${seen.size} answers seen, ${log.count()} questions logged, ${JSON.stringify(verdicts)}`,
    );
    assert.ok(verdicts.allow > 500 && verdicts.pending > 0);
    assert.ok(log.waiting().length >= verdicts.pending);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
