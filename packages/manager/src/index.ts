export { startManager } from './start.ts';
export type { ListenAddress, Manager, ManagerOptions } from './manager.ts';
export type { Core } from './core.ts';
export type { CertificateLifetimes } from './hosts/authority.ts';
export { managerVersion } from './version.ts';
