import { type NetworkPolicyDocument, policyReference } from '../documents/document.ts';
import { isStaged } from '../documents/kubernetes-form.ts';
import { type Direction, protocolNumber, type SideVerdict } from '../model.ts';
import type { Selector } from '../select/selector.ts';
import { everybody, networkWithInside, type Peer, type Peers, peersOf } from './peers.ts';
import { everyPort, type NamedPort, type RulePorts, spanOf } from './ports.ts';
import type { ResolvedRule } from './rule.ts';

type Spec = NetworkPolicyDocument['spec'];
type IngressRule = NonNullable<Spec['ingress']>[number];
type PeerDocuments = IngressRule['from'];
type PortDocuments = IngressRule['ports'];

/** The tier of NetworkPolicies; the admin policies stand in those around it. */
const tier = 'application';

/** The names of a NetworkPolicy's rules that its document does not list. */
export const isolationRule: Readonly<Record<Direction, string>> = {
  ingress: 'ingress-isolation',
  egress: 'egress-isolation',
};
export const nodeRule = 'ingress-from-node';

/**
 * What the policy allows, and per selected direction that everything else is denied. A pod's own machine gets to it whatever the
 * policies say, as Kubernetes has it for probes.
 */
export function networkPolicyRules(document: NetworkPolicyDocument): readonly ResolvedRule[] {
  const { spec } = document;
  const namespace = document.metadata.namespace ?? 'default';
  const own = peersOf([podsIn(namespace, spec.podSelector)]);
  const shared: Shared = { policy: policyReference(document), staged: isStaged(document), own };
  const rules: ResolvedRule[] = [];
  const add = (direction: Direction, block: Block, name: string, far: Peers, ports: RulePorts): void => {
    rules.push(new NetworkPolicyRule(shared, { index: rules.length, direction, block, name, far, ports }));
  };
  const directions = selectedDirections(spec);
  if (directions.has('ingress')) {
    for (const [index, { from, ports }] of (spec.ingress ?? []).entries())
      add('ingress', 'additive', placeName('ingress', index), farEnd(namespace, from), resolvePortDocuments(ports));
    add('ingress', 'additive', nodeRule, ownNode, everyPort);
    add('ingress', 'closing', isolationRule.ingress, everybody, everyPort);
  }
  if (directions.has('egress')) {
    for (const [index, { to, ports }] of (spec.egress ?? []).entries())
      add('egress', 'additive', placeName('egress', index), farEnd(namespace, to), resolvePortDocuments(ports));
    add('egress', 'closing', isolationRule.egress, everybody, everyPort);
  }
  // A list that grew has room for more, which this one will never need.
  return rules.slice();
}

type Block = 'additive' | 'closing';

/** What all rules of one policy have. */
interface Shared {
  readonly policy: string;
  readonly staged: boolean;
  /** The selected pods. */
  readonly own: Peers;
}

interface RuleParts {
  readonly index: number;
  readonly direction: Direction;
  readonly block: Block;
  readonly name: string;
  readonly far: Peers;
  readonly ports: RulePorts;
}

/** A cluster has many of these, and memory is what they cost: what follows from the rest is not kept, and the verdict is made late. */
class NetworkPolicyRule implements ResolvedRule {
  readonly shared: Shared;
  readonly index: number;
  readonly direction: Direction;
  readonly block: Block;
  readonly name: string;
  readonly far: Peers;
  readonly rulePorts: RulePorts;
  #verdict: SideVerdict | null = null;

  constructor(shared: Shared, { index, direction, block, name, far, ports }: RuleParts) {
    this.shared = shared;
    this.index = index;
    this.direction = direction;
    this.block = block;
    this.name = name;
    this.far = far;
    this.rulePorts = ports;
  }

  get tier(): string {
    return tier;
  }

  get policy(): string {
    return this.shared.policy;
  }

  get priority(): number {
    return 0;
  }

  get staged(): boolean {
    return this.shared.staged;
  }

  get action(): 'allow' | 'deny' {
    return this.block === 'closing' ? 'deny' : 'allow';
  }

  get verdict(): SideVerdict {
    const { action, policy, name } = this;
    this.#verdict ??= { action, reason: { kind: 'rule', tier, policy, rule: name } };
    return this.#verdict;
  }

  get egress(): boolean {
    return this.direction === 'egress';
  }

  get ingress(): boolean {
    return this.direction === 'ingress';
  }

  get from(): Peers {
    return this.egress ? this.shared.own : this.far;
  }

  get to(): Peers {
    return this.egress ? this.far : this.shared.own;
  }

  get ports(): RulePorts['ports'] {
    return this.rulePorts.ports;
  }

  get namedPorts(): RulePorts['namedPorts'] {
    return this.rulePorts.namedPorts;
  }

  get document(): null {
    return null;
  }
}

const placeNames = { ingress: [] as string[], egress: [] as string[] };

/** `ingress[0]`: the same text for all policies. */
function placeName(direction: Direction, index: number): string {
  return (placeNames[direction][index] ??= `${direction}[${index}]`);
}

const ownNode = peersOf([{ kind: 'host' }]);

/** Where no types are given: ingress always, egress if there are rules of it. */
function selectedDirections({ policyTypes = [], egress = [] }: Spec): ReadonlySet<Direction> {
  if (policyTypes.length === 0) return new Set(egress.length === 0 ? ['ingress'] : ['ingress', 'egress']);
  return new Set(policyTypes.map((type) => (type === 'Ingress' ? 'ingress' : 'egress')));
}

/** No peers at all are everybody. */
function farEnd(namespace: string, documents: PeerDocuments): Peers {
  if (documents === undefined || documents.length === 0) return everybody;
  return peersOf(
    documents.map(({ podSelector, namespaceSelector, ipBlock }): Peer => {
      if (ipBlock !== undefined) return networkWithInside(ipBlock.cidr, ipBlock.except);
      if (namespaceSelector === undefined) return podsIn(namespace, podSelector);
      const namespaces = { kind: 'selector', selector: namespaceSelector } as const;
      return { kind: 'pods', namespaces, pods: podSelector ?? {} };
    }),
  );
}

function podsIn(namespace: string, pods: Selector | undefined): Peer {
  return { kind: 'pods', namespaces: { kind: 'name', name: namespace }, pods: pods ?? {} };
}

/** No ports at all are every protocol; a port without a protocol is of TCP, and a protocol without a port is all of it. */
function resolvePortDocuments(documents: PortDocuments): RulePorts {
  if (documents === undefined || documents.length === 0) return everyPort;
  const numbered = documents.filter(({ port }) => typeof port !== 'string');
  const named = documents.flatMap(({ protocol = 'TCP', port }): readonly NamedPort[] =>
    typeof port === 'string' ? [{ name: port, protocol: kubernetesProtocol[protocol] }] : [],
  );
  return {
    ports: numbered.map(({ protocol = 'TCP', port, endPort }) =>
      spanOf(kubernetesProtocol[protocol], port as number | undefined, endPort),
    ),
    namedPorts: named.length === 0 ? everyPort.namedPorts : named,
  };
}

export const kubernetesProtocol = {
  TCP: protocolNumber.tcp,
  UDP: protocolNumber.udp,
  SCTP: protocolNumber.sctp,
} as const;
