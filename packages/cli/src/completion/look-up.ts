/** Names for completion, from the manager: few, quickly, and nothing rather than an error. */
import type { Command } from 'commander';
import { connect } from '../client/connection.ts';
import { findResource, resources } from '../resources/resources.ts';
import type { Shell } from '../shell.ts';
import type { LookUp } from './complete.ts';

/** A person waits with a finger on the key: after this long there are no names. */
const answerMs = 1_000;
const namesMax = 200;

export function createLookUp(program: Command, shell: Shell): LookUp {
  return async (kind) => {
    if (!resources.some((resource) => resource.names.includes(kind))) return [];
    const signal = AbortSignal.any([shell.signal, AbortSignal.timeout(answerMs)]);
    try {
      const { api } = await connect(program, { ...shell, signal });
      const { rows, name } = await findResource(kind).list(api, {}, namesMax, shell.nowMs());
      // Of a document only its name follows its kind, with its namespace where it has one.
      return rows.map((row) => name(row).slice(name(row).indexOf('/') + 1));
    } catch {
      // No manager, no token, too slow: completion goes on without names.
      return [];
    }
  };
}
