export * from './compiled.ts';
export * from './generate.ts';
