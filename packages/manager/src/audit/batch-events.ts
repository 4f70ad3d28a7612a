/** What a batch of the ledger says in the audit log: one event a command, without the bulk and without hashes of secrets. */
import { documentKeyOf, documentKeyText } from '../store/commands.ts';
import type { AuditEvent } from '../services.ts';
import type { Batch, Command } from '../store/commands.ts';

/** Most names that one line lists; the count is always whole. */
const namesMax = 100;

export function batchEvents(batch: Batch): readonly AuditEvent[] {
  return batch.commands.map((command) => ({ actor: batch.by, ...eventOf(command) }));
}

function eventOf(command: Command): Omit<AuditEvent, 'actor'> {
  switch (command.kind) {
    case 'documents': {
      const set = command.set.map((document) => documentKeyText(documentKeyOf(document)));
      const removed = command.removed.map(documentKeyText);
      const details = {
        set: set.slice(0, namesMax),
        removed: removed.slice(0, namesMax),
        setCount: set.length,
        removedCount: removed.length,
      };
      return { action: 'documents.changed', subject: set[0] ?? removed[0] ?? '', details };
    }
    case 'workloads': {
      const set = command.set.map((entry) => entry.report.workload);
      const problems = command.set.flatMap((entry) => entry.problems);
      return {
        action: 'workloads.reported',
        subject: set[0] ?? command.removed[0] ?? '',
        details: {
          set: set.slice(0, namesMax),
          removed: command.removed.slice(0, namesMax),
          setCount: set.length,
          removedCount: command.removed.length,
          problems: problems.slice(0, namesMax),
        },
      };
    }
    case 'identities-allocated':
      return {
        action: 'identities.allocated',
        subject: '',
        details: { identities: command.identities.slice(0, namesMax), count: command.identities.length },
      };
    case 'identities-released':
      return {
        action: 'identities.released',
        subject: '',
        details: { identities: command.identities.slice(0, namesMax), count: command.identities.length },
      };
    case 'identities-assigned':
      return {
        action: 'identities.assigned',
        subject: '',
        details: { workloads: command.workloads.slice(0, namesMax), count: command.workloads.length },
      };
    case 'enrolment-token-created': {
      const { secretHash: _, ...token } = command.token;
      return { action: 'enrolment-token.created', subject: token.id, details: token };
    }
    case 'enrolment-token-revoked':
      return { action: 'enrolment-token.revoked', subject: command.id, details: {} };
    case 'host-enrolled':
      return {
        action: 'host.enrolled',
        subject: command.host,
        details: {
          token: command.token,
          certificate: command.certificate,
          labelsAllowed: command.labelsAllowed,
          addressesAllowed: command.addressesAllowed,
        },
      };
    case 'host-renewed':
      return { action: 'host.renewed', subject: command.host, details: { certificate: command.certificate } };
    case 'host-revoked':
      return { action: 'host.revoked', subject: command.host, details: { because: command.because } };
    case 'person-token-created': {
      const { secretHash: _, ...token } = command.token;
      return { action: 'person-token.created', subject: token.name, details: token };
    }
    case 'person-token-revoked':
      return { action: 'person-token.revoked', subject: command.id, details: {} };
    case 'enforcement':
      return {
        action: command.on ? 'enforcement.on' : 'enforcement.off',
        subject: 'cluster',
        details: { because: command.because },
      };
    case 'adoption':
      return { action: `workload.${command.mode}`, subject: command.workload, details: {} };
  }
}
