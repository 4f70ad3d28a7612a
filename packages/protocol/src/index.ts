export * from './link.ts';
export * from './frame.ts';
export * from './records.ts';
