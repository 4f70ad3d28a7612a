/** An endpoint as the agent's `top` shows it; it has more fields. */
export interface EndpointView {
  readonly endpoint: string;
  readonly name: string | null;
  readonly ifindex: number;
  readonly interfaceName: string;
  readonly mac: string;
  readonly gatewayMac: string;
  readonly ipv4: string | null;
  readonly ipv6: string | null;
  readonly state: string;
  readonly counters: Readonly<Record<string, number>>;
}
