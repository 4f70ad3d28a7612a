/** The admin policies of Kubernetes: ordered rules for pods anywhere, of which the first that matches decides. */
import {
  type AdminNetworkPolicyDocument,
  type BaselineAdminNetworkPolicyDocument,
  type ClusterNetworkPolicyDocument,
  policyReference,
} from '../documents/document.ts';
import { isStaged } from '../documents/kubernetes-form.ts';
import type { Direction, ProtocolName } from '../model.ts';
import { protocolNumber } from '../model.ts';
import { canonicalDnsName } from '../select/dns-name.ts';
import type { Selector } from '../select/selector.ts';
import { kubernetesProtocol } from './network-policy.ts';
import { networkWithInside, type Peer, type Peers, peersOf } from './peers.ts';
import { everyPort, type NamedPort, type PortSpan, type RulePorts, spanOf } from './ports.ts';
import type { ResolvedRule } from './rule.ts';

const adminTier = 'security';
const baselineTier = 'baseline';
/** The one policy without a priority comes after those that have one. */
const baselinePriority = 1_001;

export function adminPolicyRules(document: AdminNetworkPolicyDocument): readonly ResolvedRule[] {
  const { priority } = document.spec;
  return orderedRules(document, { tier: adminTier, priority }, adminRules(document.spec));
}

export function baselinePolicyRules(document: BaselineAdminNetworkPolicyDocument): readonly ResolvedRule[] {
  return orderedRules(document, { tier: baselineTier, priority: baselinePriority }, adminRules(document.spec));
}

export function clusterPolicyRules(document: ClusterNetworkPolicyDocument): readonly ResolvedRule[] {
  const { spec } = document;
  const rules = [
    ...(spec.ingress ?? []).map((rule) => ({
      direction: 'ingress' as const,
      name: rule.name,
      action: rule.action,
      far: farEnd(rule.from),
      ports: protocolPorts(rule.protocols),
    })),
    ...(spec.egress ?? []).map((rule) => ({
      direction: 'egress' as const,
      name: rule.name,
      action: rule.action,
      far: farEnd(rule.to),
      ports: protocolPorts(rule.protocols),
    })),
  ];
  const tier = spec.tier === 'Admin' ? adminTier : baselineTier;
  return orderedRules(document, { tier, priority: spec.priority }, rules);
}

interface OrderedRule {
  readonly direction: Direction;
  readonly name: string | undefined;
  readonly action: 'Accept' | 'Allow' | 'Deny' | 'Pass';
  readonly far: Peers;
  readonly ports: RulePorts;
}

const actions = { Accept: 'allow', Allow: 'allow', Deny: 'deny', Pass: 'pass' } as const;

function orderedRules(
  document: AdminNetworkPolicyDocument | BaselineAdminNetworkPolicyDocument | ClusterNetworkPolicyDocument,
  place: { readonly tier: string; readonly priority: number },
  rules: readonly OrderedRule[],
): readonly ResolvedRule[] {
  const own = peersOf([podsOf(document.spec.subject)]);
  const policy = policyReference(document);
  const names = ruleNames(rules);
  return rules.map((rule, index) => {
    const action = actions[rule.action];
    const name = names[index]!;
    const reason = { kind: 'rule', tier: place.tier, policy, rule: name } as const;
    return {
      ...place,
      policy,
      name,
      index,
      block: 'ordered',
      staged: isStaged(document),
      action,
      verdict: action === 'pass' ? null : { action, reason },
      egress: rule.direction === 'egress',
      ingress: rule.direction === 'ingress',
      from: rule.direction === 'egress' ? own : rule.far,
      to: rule.direction === 'egress' ? rule.far : own,
      ...rule.ports,
      document: null,
    };
  });
}

/** The rule's own name where it is one that nobody else of the document has, else its place: `ingress[0]`. */
function ruleNames(rules: readonly OrderedRule[]): readonly string[] {
  const given = Map.groupBy(rules, ({ name }) => name);
  const counts = { ingress: 0, egress: 0 };
  return rules.map(({ direction, name }) => {
    const place = `${direction}[${counts[direction]++}]`;
    const good = name !== undefined && /^[A-Za-z0-9._-]+$/.test(name) && given.get(name)?.length === 1;
    return good ? name : place;
  });
}

interface PodsDocument {
  readonly namespaces?: Selector | undefined;
  readonly pods?: { readonly namespaceSelector?: Selector | undefined; readonly podSelector: Selector } | undefined;
}

interface FarDocument extends PodsDocument {
  readonly nodes?: Selector | undefined;
  readonly networks?: readonly string[] | undefined;
  readonly domainNames?: readonly string[] | undefined;
}

function podsOf({ namespaces, pods }: PodsDocument): Peer {
  const selector = namespaces ?? pods?.namespaceSelector ?? {};
  return { kind: 'pods', namespaces: { kind: 'selector', selector }, pods: pods?.podSelector ?? {} };
}

function farEnd(documents: readonly FarDocument[]): Peers {
  return peersOf(
    documents.flatMap((peer): readonly Peer[] => {
      if (peer.nodes !== undefined) return [{ kind: 'hosts', selector: peer.nodes }];
      if (peer.networks !== undefined) return peer.networks.map((cidr) => networkWithInside(cidr));
      if (peer.domainNames !== undefined)
        return peer.domainNames.map((name) => ({ kind: 'dns', pattern: canonicalDnsName(name) }));
      return [podsOf(peer)];
    }),
  );
}

type AdminSpec = AdminNetworkPolicyDocument['spec'] | BaselineAdminNetworkPolicyDocument['spec'];
type AdminPorts = NonNullable<AdminSpec['ingress']>[number]['ports'];

function adminRules({ ingress = [], egress = [] }: AdminSpec): readonly OrderedRule[] {
  return [
    ...ingress.map(({ name, action, from, ports }) => ({
      direction: 'ingress' as const,
      name,
      action,
      far: farEnd(from),
      ports: adminPorts(ports),
    })),
    ...egress.map(({ name, action, to, ports }) => ({
      direction: 'egress' as const,
      name,
      action,
      far: farEnd(to),
      ports: adminPorts(ports),
    })),
  ];
}

function adminPorts(documents: AdminPorts): RulePorts {
  if (documents === undefined || documents.length === 0) return everyPort;
  const ports: PortSpan[] = [];
  const namedPorts: NamedPort[] = [];
  for (const { portNumber, portRange, namedPort } of documents) {
    if (portNumber !== undefined) ports.push(spanOf(kubernetesProtocol[portNumber.protocol ?? 'TCP'], portNumber.port));
    if (portRange !== undefined)
      ports.push(spanOf(kubernetesProtocol[portRange.protocol ?? 'TCP'], portRange.start, portRange.end));
    if (namedPort !== undefined) namedPorts.push({ name: namedPort, protocol: null });
  }
  return { ports, namedPorts };
}

type ClusterSpec = ClusterNetworkPolicyDocument['spec'];
type ProtocolDocuments = NonNullable<ClusterSpec['ingress']>[number]['protocols'];

function protocolPorts(documents: ProtocolDocuments): RulePorts {
  if (documents === undefined) return everyPort;
  const ports: PortSpan[] = [];
  const namedPorts: NamedPort[] = [];
  for (const document of documents) {
    for (const protocol of ['tcp', 'udp', 'sctp'] as const satisfies readonly ProtocolName[]) {
      const port = document[protocol]?.destinationPort;
      if (port === undefined) continue;
      const { number, range } = port;
      ports.push(spanOf(protocolNumber[protocol], number ?? range?.start, range?.end));
    }
    if (document.destinationNamedPort !== undefined)
      namedPorts.push({ name: document.destinationNamedPort, protocol: null });
  }
  return { ports, namedPorts };
}
