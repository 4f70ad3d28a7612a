import manifest from '../package.json' with { type: 'json' };

export const managerVersion: string = manifest.version;
