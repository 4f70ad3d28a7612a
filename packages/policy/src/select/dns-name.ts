/** The name as names are compared: lower case, without the dot at the end. */
export function canonicalDnsName(name: string): string {
  return name.toLowerCase().replace(/\.$/, '');
}

/** Whether the pattern covers the name: `*.example.com` every name below `example.com`, at any depth, and not that itself. Both canonical. */
export function dnsNameMatches(pattern: string, name: string): boolean {
  return pattern.startsWith('*.')
    ? name.length > pattern.length - 1 && name.endsWith(pattern.slice(1))
    : name === pattern;
}
