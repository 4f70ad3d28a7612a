import type { PortDocument } from '../documents/document.ts';
import { type Labels, namedPortPrefix, type Party, protocolNumber } from '../model.ts';
import { labelOf } from '../select/selector.ts';

/** A piece of protocol and port space, ends included; see `Flow.port`. */
export interface PortSpan {
  readonly protocol: number;
  readonly from: number;
  readonly to: number;
}

/** A port that the workload says the number of to which the connection goes; a null protocol is any that has ports. */
export interface NamedPort {
  readonly name: string;
  readonly protocol: number | null;
}

/** What a rule says about protocols and ports: everything where `ports` is null, else any of the spans and of the named ports. */
export interface RulePorts {
  readonly ports: readonly PortSpan[] | null;
  readonly namedPorts: readonly NamedPort[];
}

export const everyPort: RulePorts = { ports: null, namedPorts: [] };
export const portMax = 65_535;

export function resolvePorts(documents: readonly PortDocument[] | undefined): RulePorts {
  if (documents === undefined || documents.some(({ protocol }) => protocol === 'any')) return everyPort;
  return {
    ports: documents.filter(({ name }) => name === undefined).map(portSpan),
    namedPorts: documents.flatMap(({ protocol, name }) =>
      name === undefined || protocol === 'any' ? [] : [{ name, protocol: protocolNumber[protocol] }],
    ),
  };
}

function portSpan({ protocol, port, endPort, type, code }: PortDocument): PortSpan {
  switch (protocol) {
    case 'any':
      throw new Error('a port that is every protocol has no span');
    case 'tcp':
    case 'udp':
    case 'sctp':
      return spanOf(protocolNumber[protocol], port, endPort);
    case 'icmp':
    case 'icmpv6': {
      if (type === undefined) return spanOf(protocolNumber[protocol]);
      const from = type * 256 + (code ?? 0);
      return { protocol: protocolNumber[protocol], from, to: code === undefined ? from + 255 : from };
    }
  }
}

/** One port, a range, or without a port all of the protocol. */
export function spanOf(protocol: number, port?: number, endPort?: number): PortSpan {
  return port === undefined ? { protocol, from: 0, to: portMax } : { protocol, from: port, to: endPort ?? port };
}

/** True where the rule speaks about this protocol and port of that destination. */
export function portsMatch(
  { ports, namedPorts }: RulePorts,
  { protocol, port }: { readonly protocol: number; readonly port: number },
  destination: Party,
): boolean {
  const within = (span: PortSpan): boolean => span.protocol === protocol && span.from <= port && port <= span.to;
  if (ports === null || ports.some(within)) return true;
  if (destination.kind !== 'workload') return false;
  return namedPorts.some((named) => namedPortSpans(destination.labels, named).some(within));
}

/** What the named port is at a workload with these labels: nothing where it has no port of that name and protocol. */
export function namedPortSpans(labels: Labels, { name, protocol }: NamedPort): readonly PortSpan[] {
  const spans = portListSpans(labelOf(labels, namedPortPrefix + name) ?? '');
  return protocol === null ? spans : spans.filter((span) => span.protocol === protocol);
}

const portForm = /^(tcp|udp|sctp)-([1-9][0-9]{0,4})$/;

/** Ports in the form of a label's value: `tcp-80_udp-80`. What is no port in it says nothing. */
export function portListSpans(value: string): readonly PortSpan[] {
  return value.split('_').flatMap((part) => {
    const [, protocol, port] = portForm.exec(part) ?? [];
    if (protocol === undefined || Number(port) > portMax) return [];
    return [spanOf(protocolNumber[protocol as 'tcp' | 'udp' | 'sctp'], Number(port))];
  });
}

/** Equal where the same is said in the same order. */
export function portsKey({ ports, namedPorts }: RulePorts): string {
  if (ports === null) return '*';
  const spans = ports.map(({ protocol, from, to }) => `${protocol}:${from}-${to}`);
  return [...spans, ...namedPorts.map(({ name, protocol }) => `${protocol ?? '*'}:${name}`)].join(',');
}
