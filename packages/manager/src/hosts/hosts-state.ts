/** Enrolled hosts and one-time tokens as the ledger left them. */
import type { AddressesAllowed, EnrolmentTokenState, HostCertificate, LabelsAllowed } from '../store/commands.ts';

/** Certificates of one host that are honoured at a time: the present one, and the ones before while they last. */
export const certificatesMax = 4;

export interface HostEntry {
  readonly host: string;
  readonly enrolledMs: number;
  readonly labelsAllowed: LabelsAllowed;
  readonly addressesAllowed: AddressesAllowed;
  /** Empty when revoked. */
  readonly certificates: readonly HostCertificate[];
  readonly revoked: { readonly atMs: number; readonly because: string; readonly by: string } | null;
}

export interface HostsState {
  readonly hosts: Map<string, HostEntry>;
  readonly tokens: Map<string, EnrolmentTokenState>;
}

export function emptyHosts(): HostsState {
  return { hosts: new Map(), tokens: new Map() };
}

export function enrolHost(
  state: HostsState,
  command: {
    readonly host: string;
    readonly token: string;
    readonly certificate: HostCertificate;
    readonly labelsAllowed: LabelsAllowed;
    readonly addressesAllowed: AddressesAllowed;
  },
  atMs: number,
): void {
  state.tokens.delete(command.token);
  state.hosts.set(command.host, {
    host: command.host,
    enrolledMs: atMs,
    labelsAllowed: command.labelsAllowed,
    addressesAllowed: command.addressesAllowed,
    certificates: [command.certificate],
    revoked: null,
  });
}

export function renewHost(state: HostsState, host: string, certificate: HostCertificate): void {
  const entry = state.hosts.get(host);
  if (entry === undefined) return;
  state.hosts.set(host, { ...entry, certificates: [...entry.certificates, certificate].slice(-certificatesMax) });
}

export function revokeHost(
  state: HostsState,
  host: string,
  revoked: { readonly atMs: number; readonly because: string; readonly by: string },
): void {
  const entry = state.hosts.get(host);
  if (entry !== undefined) state.hosts.set(host, { ...entry, certificates: [], revoked });
}
