/** What the manager refuses, as a failure of the command: its own words, and an exit code that a script can act on. */
import type { ApiError, ApiResult } from '@bulkhead/protocol';
import { CommandFailure, type ExitName, type Fault } from '../exit.ts';

const exitOf: Readonly<Record<ApiError['code'], ExitName>> = {
  malformed: 'invalid',
  refused: 'invalid',
  'too-large': 'invalid',
  unauthenticated: 'forbidden',
  forbidden: 'forbidden',
  'out-of-scope': 'forbidden',
  'not-found': 'notFound',
  conflict: 'conflict',
  'too-many-requests': 'failed',
  busy: 'failed',
  internal: 'failed',
};

export function failureOf(error: ApiError): CommandFailure {
  const problems = error.problems ?? [];
  const faults: Fault[] = problems.map((problem) => ({
    where: [problem.file, problem.document, problem.path]
      .filter((part) => part !== undefined && part !== '')
      .join(': '),
    what: problem.reason,
    ...(problem.allowed === undefined ? {} : { remedy: `allowed: ${problem.allowed}` }),
  }));
  if (faults.length === 0 && error.why !== '')
    faults.push(error.where === '' ? { what: error.why } : { where: error.where, what: error.why });
  return new CommandFailure(exitOf[error.code], error.what, {
    faults,
    ...(error.do === '' ? {} : { remedy: error.do }),
  });
}

/** The value of a success; throws what `failureOf` makes of anything else. */
export function valueOf<Value>(result: ApiResult<Value>): Value {
  if (result.kind === 'ok') return result.value;
  throw failureOf(result.error);
}
