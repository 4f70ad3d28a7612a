/**
 * A process that is killed: asks questions as fast as it can and prints each answer that it has seen, one line with the ids that an
 * answer came for. Arguments: the log's file, the name of this boot, questions in a batch.
 */
import { writeSync } from 'node:fs';
import process from 'node:process';
import { openSqliteQuestionLog } from '../sqlite-question-log.ts';
import { World } from './world.ts';

const [file = '', boot = '', size = '1'] = process.argv.slice(2);
const world = new World([
  { name: 'plain', when: 'source.class == "microvm"' },
  { name: 'human', approve: { by: 'approver', within: '10m' } },
]);
const service = world.service(openSqliteQuestionLog(file));
let asked = 0;

let printing: Promise<void> = Promise.resolve();

/** Synchronous writes, so that what the client saw has left the process; a reader that is behind is waited for, and no line cuts another. */
function print(line: string): Promise<void> {
  printing = printing.then(async () => {
    for (let rest = Buffer.from(line); rest.length > 0;) {
      try {
        rest = rest.subarray(writeSync(1, rest));
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') throw error;
        await new Promise(setImmediate);
      }
    }
  });
  return printing;
}

async function askForEver(lane: number): Promise<void> {
  for (;;) {
    const questions = Array.from({ length: Number(size) }, (_, place) => {
      asked += 1;
      const rule = lane === 0 && place === 0 && asked % 7 === 0 ? 'human' : 'plain';
      return { ...world.question(rule), id: `h1:${boot}:${asked}` };
    });
    const decisions = await service.ask('h1', questions);
    await print(`${decisions.map(({ question, verdict }) => `${question}=${verdict}`).join(' ')}\n`);
  }
}

await Promise.all([0, 1, 2, 3].map(askForEver));
