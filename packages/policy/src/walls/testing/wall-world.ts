import type { WallConfiguration, WallRule } from '../wall.ts';
import type { OracleWall } from './history-oracle.ts';

/** The small world of random histories: few enough subjects that they meet all the time. */
export const workloads = ['w0', 'w1', 'w2', 'w3', 'dns'] as const;
export const places = ['volume/v0', 'volume/v1', 'store/a', 'store/b', 'store/c', 'store/plain'] as const;
export const sanitizer = 'dns';
/** Names of datasets and, where a wall is about transactions, of roles. */
export const names = ['a', 'b', 'c', 'd'] as const;
export const segmentOfPlace: Readonly<Record<string, string>> = { 'store/a': 'sa', 'store/b': 'sb', 'store/c': 'sc' };
const datasets = names.map((name) => [`s${name}`, name] as const);

const rule = (
  name: string,
  scope: WallRule['scope'],
  pairs: WallRule['pairs'],
  options: Partial<Pick<WallRule, 'readings' | 'sanitizers'>> = {},
): WallRule => ({ name, scope, pairs, readings: [], sanitizers: [], ...options });

export const wallRules: Readonly<Record<string, WallRule>> = {
  strict: rule('strict', 'history', [['a', 'b']]),
  /** Shares its contacts with `strict`; comes and goes. */
  extra: rule('extra', 'history', [['b', 'c']]),
  lenient: rule(
    'lenient',
    'history',
    [
      ['a', 'c'],
      ['b', 'd'],
    ],
    { sanitizers: [sanitizer] },
  ),
  apart: rule('apart', 'transaction', [['a', 'b']], { readings: ['roles-apart'] }),
  never: rule(
    'never',
    'transaction',
    [
      ['a', 'b'],
      ['a', 'c'],
    ],
    { readings: ['never-both'] },
  ),
  both: rule('both', 'transaction', [['b', 'c']], { readings: ['roles-apart', 'never-both'], sanitizers: [sanitizer] }),
};

/** Which walls a history has. `strict` is always there, so that what `extra` comes to judge was seen. */
export const wallSets: readonly (readonly string[])[] = [
  ['strict'],
  ['strict', 'lenient'],
  ['strict', 'apart'],
  ['strict', 'never'],
  ['strict', 'lenient', 'apart', 'never', 'both'],
  ['strict', 'lenient', 'both'],
];

export function configurationOf(walls: readonly string[]): WallConfiguration {
  return { walls: walls.map((name) => wallRules[name]!), datasets };
}

export function oracleWalls(walls: readonly string[]): OracleWall[] {
  return walls.map((name) => {
    const { scope, readings, pairs, sanitizers } = wallRules[name]!;
    return {
      name,
      scope: scope === 'transaction' ? 'transaction' : 'history',
      rolesApart: readings.includes('roles-apart'),
      neverBoth: readings.includes('never-both'),
      pairs: pairs.map(([a, b]) => nameBit(a) | nameBit(b)),
      sanitizers,
    };
  });
}

export function nameBit(name: string): number {
  return 1 << names.findIndex((known) => known === name);
}

export function pairText(pair: number): string {
  return names.filter((name) => (pair & nameBit(name)) !== 0).join('-');
}

/** The names that members of these segments bear. */
export function isOf(segments: readonly string[]): number {
  return names.reduce((known, name) => (segments.includes(`s${name}`) ? known | nameBit(name) : known), 0);
}
