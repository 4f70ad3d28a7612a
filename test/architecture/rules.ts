/**
 * The house rules that neither compiler nor linter can check, as pure functions over the files of the checkout. Each gives the list of
 * violations as `path: what is wrong`; architecture.test.ts runs them over the real files, and over planted violations.
 */

export interface SourceFile {
  /** Relative to the checkout, with forward slashes. */
  readonly path: string;
  readonly text: string;
}

/** What each package may import of ours, as in the design. A package that is not listed may import nothing. */
export const allowedImports: Readonly<Record<string, readonly string[]>> = {
  policy: [],
  kernel: [],
  protocol: ['policy'],
  manager: ['protocol', 'policy'],
  console: ['protocol', 'policy'],
  cli: ['protocol', 'policy'],
  agent: ['protocol', 'policy', 'kernel'],
  runtime: ['protocol', 'kernel'],
  namespace: ['protocol', 'kernel'],
  keeper: ['protocol', 'kernel'],
};

/** No I/O, no clock, no randomness: they run anywhere, also in a browser. */
export const purePackages: readonly string[] = ['policy', 'protocol'];

export const fileLinesMax = 400;

const packageOf = (path: string): string | undefined => /^packages\/([^/]+)\//.exec(path)?.[1];
const isTest = (path: string): boolean =>
  path.endsWith('.test.ts') || /\/testing\//.test(path) || path.startsWith('test/');
const isCode = (path: string): boolean => /\.(ts|tsx|mjs|js)$/.test(path) && !path.endsWith('.d.ts');

/** Module specifiers of a file, types included, in order of appearance. */
export function importsOf(text: string): readonly string[] {
  const found: string[] = [];
  for (const match of text.matchAll(/^[ \t]*(?:import|export)\b(?:[^'"`;]*?\bfrom)?\s*['"]([^'"]+)['"]/gm))
    found.push(match[1]!);
  for (const match of text.matchAll(/\bimport\(\s*['"]([^'"]+)['"]\s*\)/g)) found.push(match[1]!);
  return found;
}

/** `@scope/name/deeper` and `name/deeper` without what is deeper. */
export function moduleName(specifier: string): string {
  const parts = specifier.split('/');
  return specifier.startsWith('@') ? parts.slice(0, 2).join('/') : parts[0]!;
}

interface Manifest {
  readonly name?: string;
  readonly dependencies?: Readonly<Record<string, string>>;
  readonly devDependencies?: Readonly<Record<string, string>>;
}

/** Packages import only what the design lets them, only through the other's entry, and only what they declare. */
export function dependencyViolations(files: readonly SourceFile[]): readonly string[] {
  const manifests = new Map(
    files
      .filter((file) => file.path.endsWith('package.json'))
      .map((file) => [file.path, JSON.parse(file.text) as Manifest]),
  );
  const rootDevelopment = manifests.get('package.json')?.devDependencies ?? {};
  const violations: string[] = [];
  for (const [path, manifest] of manifests) {
    const owner = packageOf(path);
    if (owner === undefined) continue;
    for (const name of Object.keys(manifest.dependencies ?? {})) {
      if (!name.startsWith('@bulkhead/')) continue;
      const target = name.slice('@bulkhead/'.length);
      if (!(allowedImports[owner] ?? []).includes(target))
        violations.push(`${path}: ${owner} may not depend on ${target}`);
    }
    for (const [name, version] of Object.entries(manifest.dependencies ?? {})) {
      if (!/^\d+\.\d+\.\d+/.test(version)) violations.push(`${path}: ${name} has no exact version (${version})`);
    }
  }
  for (const file of files) {
    const owner = packageOf(file.path);
    if (owner === undefined || !isCode(file.path)) continue;
    const manifest = manifests.get(`packages/${owner}/package.json`);
    for (const specifier of importsOf(file.text)) {
      const problem = importProblem(file.path, owner, specifier, manifest, rootDevelopment);
      if (problem !== undefined) violations.push(`${file.path}: ${problem}`);
    }
  }
  return violations;
}

function importProblem(
  path: string,
  owner: string,
  specifier: string,
  manifest: Manifest | undefined,
  rootDevelopment: Readonly<Record<string, string>>,
): string | undefined {
  if (specifier.startsWith('node:')) {
    return purePackages.includes(owner) && !isTest(path) ? `${owner} is pure and imports ${specifier}` : undefined;
  }
  if (specifier.startsWith('.')) {
    const target = new URL(specifier, `file:///${path}`).pathname.slice(1);
    return target.startsWith(`packages/${owner}/`) ? undefined : `${specifier} leaves the package`;
  }
  const name = moduleName(specifier);
  if (name === '@bulkhead/' + owner) return `imports its own package by name (${specifier})`;
  if (name.startsWith('@bulkhead/')) {
    const target = name.slice('@bulkhead/'.length);
    if (!(allowedImports[owner] ?? []).includes(target)) return `${owner} may not import ${target}`;
    if (specifier !== name) return `${specifier} goes past the entry of ${target}`;
  }
  const declared = manifest?.dependencies?.[name] ?? manifest?.devDependencies?.[name];
  if (declared !== undefined) return undefined;
  if (isTest(path) && rootDevelopment[name] !== undefined) return undefined;
  return `${name} is not in the dependencies of packages/${owner}/package.json`;
}

/** The compiler keeps globals such as process, Buffer and timers out of pure packages, through `types: []`. */
export function pureTypesViolations(files: readonly SourceFile[]): readonly string[] {
  return files
    .filter((file) => purePackages.some((name) => file.path === `packages/${name}/tsconfig.json`))
    .filter((file) => !/"types"\s*:\s*\[\s*\]/.test(file.text))
    .map((file) => `${file.path}: a pure package needs "types": []`);
}

/** Calls that read a clock or make randomness, in a pure package: both have to be arguments. */
export function impurityViolations(files: readonly SourceFile[]): readonly string[] {
  const violations: string[] = [];
  for (const file of files) {
    const owner = packageOf(file.path);
    if (owner === undefined || !purePackages.includes(owner) || !isCode(file.path) || isTest(file.path)) continue;
    for (const match of file.text.matchAll(
      /\b(?:Date\.now|performance\.now|Math\.random)\(|\bnew Date\(\)|\bcrypto\.(?:randomUUID|getRandomValues)\(/g,
    )) {
      violations.push(`${file.path}: ${match[0]} in a pure package`);
    }
  }
  return violations;
}

/** `longer` names the files that may be longer, each with its reason. An entry that is not needed any more is a violation too. */
export function lengthViolations(
  files: readonly SourceFile[],
  longer: Readonly<Record<string, string>>,
): readonly string[] {
  const violations: string[] = [];
  for (const file of files) {
    if (!/\.(ts|tsx|mjs|c|h|sh)$/.test(file.path) || /(^|\/)generated\//.test(file.path)) continue;
    const lines = file.text.split('\n').length - 1;
    const listed = longer[file.path] !== undefined;
    if (lines > fileLinesMax && !listed) violations.push(`${file.path}: ${lines} lines, more than ${fileLinesMax}`);
    if (lines <= fileLinesMax && listed)
      violations.push(`${file.path}: ${lines} lines; take it off the list of longer files`);
  }
  for (const path of Object.keys(longer)) {
    if (!files.some((file) => file.path === path))
      violations.push(`${path}: is on the list of longer files and does not exist`);
  }
  return violations;
}

/** The entry of a package is its only barrel. */
export function barrelViolations(files: readonly SourceFile[]): readonly string[] {
  const violations: string[] = [];
  for (const file of files) {
    if (!isCode(file.path)) continue;
    const isEntry = /^packages\/[^/]+\/src\/index\.ts$/.test(file.path);
    if (!isEntry && /\/index\.(ts|tsx|mjs|js)$/.test(file.path))
      violations.push(`${file.path}: only a package's entry is called index`);
    if (!isEntry && /^export \*/m.test(file.text)) violations.push(`${file.path}: re-exports with export *`);
  }
  return violations;
}

/** Names that say nothing about what is inside. */
export function nameViolations(files: readonly SourceFile[]): readonly string[] {
  return files
    .filter((file) =>
      file.path.split('/').some((part) => /^(?:utils?|common|helpers?|misc|shared|lib)(?:\.[a-z]+)*$/.test(part)),
    )
    .map((file) => `${file.path}: the name says nothing about what is inside`);
}

export function readmeViolations(files: readonly SourceFile[]): readonly string[] {
  const packages = new Set(files.map((file) => packageOf(file.path)).filter((name) => name !== undefined));
  return [...packages]
    .filter((name) => !files.some((file) => file.path === `packages/${name}/README.md` && file.text.trim() !== ''))
    .map((name) => `packages/${name}: has no README.md`);
}

/** Paths and hosts of one machine, unfinished work, and tests that run alone or not at all. */
export function textViolations(files: readonly SourceFile[]): readonly string[] {
  const forbidden: readonly (readonly [RegExp, string])[] = [
    [/(?<![\w.~$}/-])\/(?:work|home|Users)\/[\w.-]/, 'a path of one machine'],
    [/\b(?:TO|FIX)(?:DO|ME)\b|\bX{3}\b/, 'unfinished work'],
    [/\b(?:test|it|describe|suite)\.only\(/, 'a test that runs alone'],
    [/@ts-(?:ignore|nocheck)\b/, 'a silenced compiler'],
  ];
  const violations: string[] = [];
  for (const file of files) {
    for (const [pattern, what] of forbidden) {
      const match = pattern.exec(file.text);
      if (match !== null) {
        const line = file.text.slice(0, match.index).split('\n').length;
        violations.push(`${file.path}:${line}: ${what} (${match[0]})`);
      }
    }
  }
  return violations;
}

/** A test file that declares no test passes without having tested anything. */
export function emptyTestViolations(files: readonly SourceFile[]): readonly string[] {
  return files
    .filter((file) => file.path.endsWith('.test.ts'))
    .filter((file) => !importsOf(file.text).includes('node:test') || !/\b(?:test|it|describe|suite)\(/.test(file.text))
    .map((file) => `${file.path}: declares no test`);
}
