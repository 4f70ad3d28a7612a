import { peerList } from '../documents/canonical.ts';
import type { PeerDocument, PeersDocument } from '../documents/document.ts';
import { insideSelector } from '../select/address-facts.ts';
import { canonicalDnsName } from '../select/dns-name.ts';
import { maskedPrefix, parsePrefix, type Prefix } from '../select/prefix.ts';
import { type Selector, selectorKey } from '../select/selector.ts';

/** A network with holes in it. */
export interface Network {
  readonly prefix: Prefix;
  readonly except: readonly Prefix[];
}

/** Kubernetes namespaces: one by its name, or those whose labels the selector matches. */
export type NamespaceSelection =
  | { readonly kind: 'name'; readonly name: string }
  | { readonly kind: 'selector'; readonly selector: Selector };

export type Peer =
  | { readonly kind: 'any' }
  | { readonly kind: 'host' }
  /** Hosts by their labels. */
  | { readonly kind: 'hosts'; readonly selector: Selector }
  | { readonly kind: 'segment'; readonly segment: string }
  | { readonly kind: 'selector'; readonly selector: Selector }
  /** Workloads that are in one of the namespaces and that the selector matches. */
  | { readonly kind: 'pods'; readonly namespaces: NamespaceSelection; readonly pods: Selector }
  /** Addresses outside. `inside` selects the workloads and hosts that it stands for too; a network of ours has none. */
  | { readonly kind: 'network'; readonly network: Network; readonly inside: Selector | null }
  /** Addresses outside that the subject has learnt under a name that the pattern covers. */
  | { readonly kind: 'dns'; readonly pattern: string };

/** One end of a rule: any of these. Equal keys mean equal ends, whatever order the document lists them in. */
export interface Peers {
  readonly key: string;
  readonly list: readonly Peer[];
}

export const everybody: Peers = { key: '*', list: [{ kind: 'any' }] };

/** The ends of a rule of ours; one that is left out is everybody. */
export function resolvePeers(peers: PeersDocument | undefined): Peers {
  return peers === undefined ? everybody : peersOf(peerList(peers).map(resolvePeer));
}

export function peersOf(list: readonly Peer[]): Peers {
  if (list.some(({ kind }) => kind === 'any')) return everybody;
  const [only] = list;
  if (list.length === 1 && only !== undefined) return { key: peerKey(only), list };
  return { key: [...new Set(list.map(peerKey))].sort().join('|'), list };
}

function resolvePeer(peer: PeerDocument): Peer {
  if (peer.segment !== undefined) return { kind: 'segment', segment: peer.segment };
  if (peer.selector !== undefined) return { kind: 'selector', selector: peer.selector };
  if (peer.cidr !== undefined)
    return { kind: 'network', network: resolveNetwork(peer.cidr, peer.except), inside: null };
  if (peer.dns !== undefined) return { kind: 'dns', pattern: canonicalDnsName(peer.dns) };
  return peer.host === true ? { kind: 'host' } : { kind: 'any' };
}

export function resolveNetwork(cidr: string, except: readonly string[] = []): Network {
  return { prefix: checkedPrefix(cidr, parsePrefix), except: except.map((hole) => checkedPrefix(hole, parsePrefix)) };
}

/** A network of Kubernetes', which stands for whoever has an address in it. */
export function networkWithInside(cidr: string, except: readonly string[] = []): Peer {
  const holes = except.map((hole) => checkedPrefix(hole, maskedPrefix));
  const network = { prefix: checkedPrefix(cidr, maskedPrefix), except: holes };
  return { kind: 'network', network, inside: insideSelector(network) };
}

/** Documents are checked before they come here, so a bad network is a bug. */
function checkedPrefix(text: string, parse: typeof parsePrefix): Prefix {
  const parsed = parse(text);
  if (parsed.kind === 'refused') throw new Error(`a parsed document holds the network ${text}: ${parsed.reason}`);
  return parsed.prefix;
}

function peerKey(peer: Peer): string {
  switch (peer.kind) {
    case 'any':
      return '*';
    case 'host':
      return 'host';
    case 'hosts':
      return `hosts:${selectorKey(peer.selector)}`;
    case 'segment':
      return `segment:${peer.segment}`;
    case 'selector':
      return `selector:${selectorKey(peer.selector)}`;
    case 'pods':
      return `pods:${namespaceSelectionKey(peer.namespaces)}/${selectorKey(peer.pods)}`;
    case 'network':
      return `${peer.inside === null ? 'network' : 'block'}:${networkKey(peer.network)}`;
    case 'dns':
      return `dns:${peer.pattern}`;
  }
}

export function namespaceSelectionKey(namespaces: NamespaceSelection): string {
  return namespaces.kind === 'name' ? `name=${namespaces.name}` : `labels=${selectorKey(namespaces.selector)}`;
}

export function networkKey(network: Network): string {
  return [network.prefix.cidr, ...network.except.map(({ cidr }) => cidr).sort()].join('!');
}
