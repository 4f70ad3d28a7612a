/** Rule sets of the peers, of a stated size; the rule that lets the benchmark through comes last, as the newest rule would. */

/** The i-th of many different addresses in 10.20.0.0 – 10.219.255.255. */
function address(i: number): string {
  return `10.${20 + (Math.floor(i / 65_536) % 200)}.${Math.floor(i / 256) % 256}.${i % 256}`;
}

const portFirst = 1024;
const ports = 60_000;

/** iptables-restore text: established first, `count` rules of one source, destination and port each. */
export function iptablesRules(count: number, from: string, to: string): string {
  const lines = [
    '*filter',
    ':INPUT ACCEPT [0:0]',
    ':FORWARD DROP [0:0]',
    ':OUTPUT ACCEPT [0:0]',
    '-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
    '-A FORWARD -m conntrack --ctstate INVALID -j DROP',
  ];
  for (let i = 0; i < count - 1; i++)
    lines.push(`-A FORWARD -s ${address(i)}/32 -d ${to}/32 -p tcp -m tcp --dport ${portFirst + (i % ports)} -j ACCEPT`);
  lines.push(`-A FORWARD -s ${from}/32 -d ${to}/32 -p tcp -j ACCEPT`, '-A FORWARD -p icmp -j ACCEPT', 'COMMIT', '');
  return lines.join('\n');
}

/** An nftables set with `count` elements (source, destination, protocol, port), and the benchmark's own. */
export function nftablesRules(count: number, from: string, to: string): string {
  const elements = Array.from({ length: count }, (_, i) => `${address(i)} . ${to} . tcp . ${portFirst + (i % ports)}`);
  elements.push(`${from} . ${to} . tcp . 7000`);
  return `table inet fw {
 set allowed { type ipv4_addr . ipv4_addr . inet_proto . inet_service; size 262144; elements = { ${elements.join(',\n')} } }
 chain forward { type filter hook forward priority 0; policy drop;
  ct state vmap { established : accept, related : accept, invalid : drop }
  ip saddr . ip daddr . meta l4proto . th dport @allowed accept
  meta l4proto icmp accept
 }
}
`;
}
