/** A question service on a file of its own, in a small cluster, for the time of one test. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after } from 'node:test';
import type { DecisionMessage } from '@bulkhead/protocol';
import type { Actor } from '../../services.ts';
import type { Questions } from '../question-service.ts';
import { openSqliteQuestionLog } from '../sqlite-question-log.ts';
import { World } from './world.ts';
import type { RuleFields } from './world.ts';

const directory = mkdtempSync(join(tmpdir(), 'bulkhead-questions-'));
after(() => rmSync(directory, { recursive: true }));
let files = 0;
export const newFile = (): string => join(directory, `${(files += 1)}.sqlite`);

export const approver: Actor = { name: 'person/ada', role: 'approver', scope: null };
export const approve = { by: 'approver', within: '10m' };
export const everything = { limit: 100, scope: null };

export async function withService(
  rules: readonly RuleFields[],
  body: (world: World, service: Questions) => Promise<void>,
): Promise<void> {
  const world = new World(rules);
  await using service = world.service(openSqliteQuestionLog(newFile()));
  await body(world, service);
  assert.deepEqual(world.faults, []);
}

export async function askOne(
  world: World,
  service: Questions,
  rules: string | string[],
  ...more: Parameters<World['question']> extends [unknown, ...infer Rest] ? Rest : never
): Promise<DecisionMessage> {
  const [decision] = await service.ask('h1', [world.question(rules, ...more)]);
  return decision ?? assert.fail('no decision');
}
