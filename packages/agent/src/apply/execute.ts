/** How each operation is done: one executor a kind, and the compiler checks that none is missing. */
import { type Kernel, KernelError, type LearntEntry } from '@bulkhead/kernel';
import { learntKey, type Operation } from '../plan/model.ts';
import { sameHostPorts } from '../plan/host.ts';
import { PrefixTable } from '../plan/prefixes.ts';
import type { KernelMirror } from './mirror.ts';

export interface Target {
  readonly kernel: Kernel;
  readonly mirror: KernelMirror;
  /** Slots whose connections go with their endpoints: one walk after the phase. */
  readonly removedSlots: Set<number>;
}

type Executors = {
  readonly [Kind in Operation['kind']]: (target: Target, operation: Extract<Operation, { kind: Kind }>) => void;
};

const executors: Executors = {
  'set-endpoint': ({ mirror }, { entry }) => mirror.setEndpoint(entry),
  'remove-endpoint': ({ kernel, mirror, removedSlots }, { slot }) => {
    kernel.maps.removeEndpoint(slot);
    mirror.endpoints.delete(slot);
    removedSlots.add(slot);
  },
  attach: ({ kernel, mirror }, { ifindex }) => {
    kernel.links.attach(ifindex, 'workload');
    mirror.attached.add(ifindex);
  },
  'set-address': ({ kernel, mirror }, { address, entry }) => {
    kernel.maps.setAddress(address, entry);
    mirror.addresses.set(address, entry);
  },
  'remove-address': ({ kernel, mirror }, { address }) => {
    kernel.maps.removeAddress(address);
    mirror.addresses.delete(address);
  },
  'set-host-ports': ({ kernel, mirror }, { entries }) => {
    kernel.maps.setHostPorts(entries);
    mirror.hostPorts = entries;
  },
  'set-rows': ({ mirror }, { ruleset, rows }) => mirror.setRows(ruleset, rows),
  'remove-rows': ({ mirror }, { ruleset, rows }) => mirror.removeRows(ruleset, rows),
  'set-cidrs': ({ kernel, mirror }, { entries }) => {
    kernel.maps.setCidrs(entries);
    for (const { cidr, peer } of entries) mirror.cidrs.set(cidr, peer);
  },
  'remove-cidrs': ({ kernel, mirror }, { cidrs }) => {
    kernel.maps.removeCidrs(cidrs);
    for (const cidr of cidrs) mirror.cidrs.delete(cidr);
  },
  'set-learnt': ({ kernel, mirror }, { entries }) => {
    for (const entry of entries) {
      kernel.maps.setLearnt([entry]);
      mirror.learnt.set(learntKey(entry), entry);
    }
  },
  'remove-learnt': ({ kernel, mirror }, { keys }) => {
    kernel.maps.removeLearnt(keys);
    for (const key of keys) mirror.learnt.delete(learntKey(key));
  },
  'judge-endpoints': (target, { slots }) => judgeEndpointsAgain(target, slots),
  'judge-again': judgeAgain,
};

export function execute(target: Target, operation: Operation): void {
  const executor = executors[operation.kind] as (target: Target, operation: Operation) => void;
  executor(target, operation);
}

/** Removes the connections of endpoints that were taken out: another endpoint may get the slot. */
export function removeConnectionsOf(kernel: Kernel, slots: ReadonlySet<number>): void {
  const { hostSlot } = kernel.maps.limits;
  const keys: Parameters<typeof kernel.maps.removeConnections>[0][number][] = [];
  kernel.maps.forEachConnection((connection) => {
    const ends = [connection.sourceSlot, connection.destinationSlot];
    if (!ends.some((slot) => slots.has(slot))) return;
    // The host's own end may come and go under a workload's connection, which goes on: the other end is still there.
    if (ends.every((slot) => slot === hostSlot || (slot !== 0 && !slots.has(slot)))) return;
    const { protocol, source, sourcePort, destination, destinationPort } = connection;
    keys.push({ protocol, source, sourcePort, destination, destinationPort });
  });
  if (keys.length > 0) kernel.maps.removeConnections(keys);
}

/** The endpoints that talk with any of the addresses get another epoch. */
function judgeAgain(target: Target, operation: Extract<Operation, { kind: 'judge-again' }>): void {
  const addresses = new Set(operation.addresses);
  const networks = new PrefixTable(new Map(operation.networks.map((cidr) => [cidr, 0])));
  /** Peers repeat, and what is not an exact address that changed is looked for among the networks once. */
  const known = new Map<string, boolean>();
  const isMoved = (address: string, slot: number): boolean => {
    if (addresses.has(address)) return true;
    if (slot !== 0 || operation.networks.length === 0) return false;
    let found = known.get(address);
    if (found === undefined) known.set(address, (found = networks.match(address) !== undefined));
    return found;
  };
  const learnt = new Set(operation.learnt.map(learntKey));
  const slots = new Set<number>();
  target.kernel.maps.forEachConnection(({ source, destination, sourceSlot, destinationSlot }) => {
    const isLearnt = learnt.size > 0 && learnt.has(learntKey({ slot: sourceSlot, address: destination }));
    if (!isLearnt && !isMoved(source, sourceSlot) && !isMoved(destination, destinationSlot)) return;
    slots.add(sourceSlot).add(destinationSlot);
  });
  judgeEndpointsAgain(target, slots);
}

/** Every live connection of these endpoints is judged again by its next packet. */
export function judgeEndpointsAgain({ mirror }: Target, slots: Iterable<number>): void {
  for (const slot of slots) mirror.judgeAgain(slot);
}

/** What the kernel has now, against what the operations were to make of it. Returns what differs, for people. */
export function readBack({ kernel, mirror }: Target, operations: readonly Operation[]): readonly string[] {
  const differences: string[] = [];
  const slots = new Set<number>();
  const addresses = new Set<string>();
  for (const operation of operations) {
    if (operation.kind === 'set-endpoint') slots.add(operation.entry.slot);
    else if (operation.kind === 'judge-endpoints') for (const slot of operation.slots) slots.add(slot);
    else if (operation.kind === 'set-address') addresses.add(operation.address);
    else if (operation.kind === 'set-learnt') differences.push(...learntDifferences(kernel, operation.entries));
    else if (operation.kind === 'set-rows' || operation.kind === 'remove-rows')
      differences.push(...rowDifferences({ kernel, mirror }, operation));
    else if (operation.kind === 'set-host-ports' && !sameHostPorts(kernel.maps.hostPorts(), mirror.hostPorts))
      differences.push('the ports of the host’s own end are not what was written');
  }
  for (const slot of slots) {
    const meant = mirror.endpoints.get(slot);
    if (meant !== undefined && !kernel.maps.hasEndpoint(meant))
      differences.push(`endpoint ${slot} is not what was written`);
  }
  for (const address of addresses) {
    if (mirror.addresses.has(address) && kernel.maps.address(address)?.kind !== mirror.addresses.get(address)!.kind) {
      differences.push(`address ${address} is not what was written`);
    }
  }
  return differences;
}

function rowDifferences(
  { kernel, mirror }: Pick<Target, 'kernel' | 'mirror'>,
  { ruleset, rows }: Extract<Operation, { kind: 'set-rows' | 'remove-rows' }>,
): readonly string[] {
  const differences: string[] = [];
  for (const { direction, peer } of rows) {
    const table = mirror.rulesets.get(ruleset)?.[direction].get(peer);
    const key = { ruleset, direction, peer };
    const isSame = table === undefined ? kernel.maps.row(key) === undefined : mirror.hasRow(key, table);
    if (!isSame) differences.push(`row ${ruleset}/${direction}/${peer} is not what was written`);
  }
  return differences;
}

function learntDifferences(kernel: Kernel, entries: readonly LearntEntry[]): readonly string[] {
  return entries.flatMap((entry) => {
    const found = kernel.maps.learntPeer(entry);
    const isSame = found?.peer === entry.peer && found.lapsed === entry.lapsed;
    return isSame ? [] : [`what endpoint ${entry.slot} learnt of ${entry.address} is not what was written`];
  });
}

/** Text of a failure, for receipts and logs. */
export function failureText(operation: Operation, error: KernelError): string {
  switch (operation.kind) {
    case 'set-rows':
    case 'remove-rows':
      return `${operation.kind} of ruleset ${operation.ruleset} (${operation.rows.length} rows): ${error.message}`;
    case 'set-endpoint':
      return `set-endpoint ${operation.entry.slot}: ${error.message}`;
    case 'remove-endpoint':
      return `remove-endpoint ${operation.slot}: ${error.message}`;
    case 'attach':
      return `attach to interface ${operation.ifindex}: ${error.message}`;
    case 'set-address':
    case 'remove-address':
      return `${operation.kind} ${operation.address}: ${error.message}`;
    case 'set-host-ports':
      return `set-host-ports (${operation.entries.length}): ${error.message}`;
    case 'set-cidrs':
      return `set-cidrs ${operation.entries[0]?.cidr} and ${operation.entries.length - 1} more: ${error.message}`;
    case 'remove-cidrs':
      return `remove-cidrs ${operation.cidrs[0]} and ${operation.cidrs.length - 1} more: ${error.message}`;
    case 'set-learnt':
      return `set-learnt ${operation.entries[0]?.address} and ${operation.entries.length - 1} more: ${error.message}`;
    case 'remove-learnt':
      return `remove-learnt ${operation.keys[0]?.address} and ${operation.keys.length - 1} more: ${error.message}`;
    case 'judge-endpoints':
      return `judge-endpoints of ${operation.slots.length} endpoints: ${error.message}`;
    case 'judge-again':
      return `judge-again of ${operation.addresses.length + operation.networks.length} addresses and networks: ${error.message}`;
  }
}
