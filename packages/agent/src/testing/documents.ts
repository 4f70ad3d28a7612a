/** Documents for tests, short to write. */
type Json = Record<string, unknown>;

export function segment(name: string, label: Readonly<Record<string, string>>, posture: Json = {}): Json {
  return {
    apiVersion: 'bulkhead.dev/v1',
    kind: 'Segment',
    metadata: { name },
    spec: { selector: { matchLabels: label }, ...posture },
  };
}

export function policy(name: string, ...rules: readonly Json[]): Json {
  return { apiVersion: 'bulkhead.dev/v1', kind: 'Policy', metadata: { name }, spec: { tier: 'application', rules } };
}

export function rule(name: string, action: string, from: string, to: string, port: number, rest: Json = {}): Json {
  return { name, action, from: { segment: from }, to: { segment: to }, ports: [{ protocol: 'tcp', port }], ...rest };
}
