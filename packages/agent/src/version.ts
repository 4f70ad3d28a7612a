import { readFileSync } from 'node:fs';

const manifest = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
  readonly version: string;
};

/** As the manager shows it. */
export const software = `bulkhead-agent ${manifest.version}`;
