export { startManager } from './start.ts';
export type { ListenAddress, Manager, ManagerOptions } from './manager.ts';
export type { Core } from './core.ts';
export type { CertificateLifetimes } from './hosts/authority.ts';
export { managerVersion } from './version.ts';
/** For whoever starts the process. The heap is mostly long-lived state, so a small young generation costs little and saves 70 MB. */
export const managerNodeFlags: readonly string[] = ['--max-semi-space-size=2'];
