/**
 * What the ledger says: commands, in the past tense of what was agreed. A command carries every choice that was made (identities,
 * accepted labels), so that applying it needs no rules and gives the same state on every manager and in every version.
 */
import { documentKey } from '@bulkhead/policy';
import type { Labels } from '@bulkhead/policy';
import type { Role, WorkloadReport } from '@bulkhead/protocol';

/** A checked document as it was given. Its precise type is the policy package's. */
export type StoredDocument = Readonly<Record<string, unknown>> & {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
};

export interface DocumentKey {
  readonly kind: string;
  readonly name: string;
}

/** A workload as the manager took it. */
export interface InventoryEntry {
  readonly report: WorkloadReport;
  readonly host: string;
  /** Accepted claimed labels, and facts. */
  readonly labels: Labels;
  /** 0: not governed, so without identity. */
  readonly identity: number;
  /** Addresses that are its own; one that another workload holds is not here. */
  readonly addresses: readonly string[];
  /** What was not taken from the report, and why. */
  readonly problems: readonly string[];
}

export type AdoptMode = 'observe' | 'enforce' | 'release';

export type Command =
  | { readonly kind: 'documents'; readonly set: readonly StoredDocument[]; readonly removed: readonly DocumentKey[] }
  | { readonly kind: 'workloads'; readonly set: readonly InventoryEntry[]; readonly removed: readonly string[] }
  | { readonly kind: 'identities-allocated'; readonly identities: readonly (readonly [number, Labels])[] }
  | { readonly kind: 'identities-released'; readonly identities: readonly number[] }
  | { readonly kind: 'identities-assigned'; readonly workloads: readonly (readonly [string, number])[] }
  | { readonly kind: 'enrolment-token-created'; readonly token: EnrolmentTokenState }
  | { readonly kind: 'enrolment-token-revoked'; readonly id: string }
  | {
      readonly kind: 'host-enrolled';
      readonly host: string;
      /** The one-time token that this used up. */
      readonly token: string;
      readonly certificate: HostCertificate;
      readonly labelsAllowed: LabelsAllowed;
      readonly addressesAllowed: AddressesAllowed;
    }
  | { readonly kind: 'host-renewed'; readonly host: string; readonly certificate: HostCertificate }
  | { readonly kind: 'host-revoked'; readonly host: string; readonly because: string }
  | { readonly kind: 'person-token-created'; readonly token: PersonTokenState }
  | { readonly kind: 'person-token-revoked'; readonly id: string }
  | { readonly kind: 'enforcement'; readonly on: boolean; readonly because: string }
  | { readonly kind: 'adoption'; readonly workload: string; readonly mode: AdoptMode };

/** Which claimed labels a host may assert: key → values, `*` for any value. Null: any label. */
export type LabelsAllowed = Readonly<Record<string, readonly string[]>> | null;

/** Networks (CIDR) in which a host's workloads may have addresses. Null: any. */
export type AddressesAllowed = readonly string[] | null;

export interface HostCertificate {
  /** Hexadecimal, as in the certificate. */
  readonly serial: string;
  readonly notAfterMs: number;
}

export interface EnrolmentTokenState {
  readonly id: string;
  /** SHA-256 of the secret, hexadecimal. The secret has 256 bits of randomness, so no slow hash is needed. */
  readonly secretHash: string;
  /** The only host that may use it; null: any new one. */
  readonly host: string | null;
  readonly labelsAllowed: LabelsAllowed;
  readonly addressesAllowed: AddressesAllowed;
  readonly createdMs: number;
  readonly expiresMs: number;
  readonly by: string;
}

export interface PersonTokenState {
  readonly id: string;
  readonly name: string;
  readonly secretHash: string;
  readonly role: Role;
  /** Segments that the person may see and act on; null: all. */
  readonly scope: readonly string[] | null;
  readonly createdMs: number;
  readonly expiresMs: number | null;
  readonly by: string;
}

/** One entry of the ledger. */
export interface Batch {
  readonly atMs: number;
  /** `person/NAME`, `host/NAME` or `manager`. */
  readonly by: string;
  readonly commands: readonly Command[];
}

export function encodeBatch(batch: Batch): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(batch));
}

export function decodeBatch(bytes: Uint8Array): Batch {
  return JSON.parse(new TextDecoder().decode(bytes)) as Batch;
}

export function documentKeyText(key: DocumentKey): string {
  return `${key.kind}/${key.name}`;
}

/** Kinds have no slash; names of what Kubernetes keeps by namespace have one: `NAMESPACE/NAME`. */
export function parseDocumentKey(text: string): DocumentKey {
  const slash = text.indexOf('/');
  return { kind: text.slice(0, slash), name: text.slice(slash + 1) };
}

export function documentKeyOf(document: StoredDocument): DocumentKey {
  return parseDocumentKey(documentKey(document));
}
