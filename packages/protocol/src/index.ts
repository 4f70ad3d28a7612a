export * from './link.ts';
export * from './frame.ts';
export * from './records.ts';
export * from './roles.ts';
export * from './enrolment.ts';
export * from './audit.ts';
