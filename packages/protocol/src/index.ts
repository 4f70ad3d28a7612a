export * from './link.ts';
export * from './records.ts';
