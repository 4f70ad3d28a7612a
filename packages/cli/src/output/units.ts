/** Quantities as people read them. Pure: the present is an argument. */

const second = 1000;
const minute = 60 * second;
const hour = 60 * minute;
const day = 24 * hour;

/** `4s`, `12m`, `3h`, `9d`: how old something is, in one unit. */
export function age(fromMs: number, nowMs: number): string {
  const elapsedMs = Math.max(0, nowMs - fromMs);
  if (elapsedMs < minute) return `${Math.floor(elapsedMs / second)}s`;
  if (elapsedMs < hour) return `${Math.floor(elapsedMs / minute)}m`;
  if (elapsedMs < 2 * day) return `${Math.floor(elapsedMs / hour)}h`;
  return `${Math.floor(elapsedMs / day)}d`;
}

/** Time of day in the reader's own zone, with milliseconds; with the date where that is not today's. */
export function clock(atMs: number, nowMs: number): string {
  const at = new Date(atMs);
  const pad = (value: number, width = 2): string => String(value).padStart(width, '0');
  const time = `${pad(at.getHours())}:${pad(at.getMinutes())}:${pad(at.getSeconds())}.${pad(at.getMilliseconds(), 3)}`;
  const sameDay = new Date(nowMs).toDateString() === at.toDateString();
  return sameDay ? time : `${at.getFullYear()}-${pad(at.getMonth() + 1)}-${pad(at.getDate())} ${time}`;
}

/** `312 B`, `4.1 KB`, `20 MB`: decimal, as networks count. */
export function bytes(count: number): string {
  const names = ['B', 'KB', 'MB', 'GB', 'TB', 'PB'];
  let value = count;
  let index = 0;
  while (value >= 999.5 && index < names.length - 1) {
    value /= 1000;
    index += 1;
  }
  return `${index === 0 || value >= 9.95 ? Math.round(value) : value.toFixed(1)} ${names[index]}`;
}

/** `0.42 ms`, `38 ms`, `1.2 s`. */
export function duration(ms: number): string {
  if (ms < 10) return `${ms.toFixed(2)} ms`;
  if (ms < second) return `${Math.round(ms)} ms`;
  if (ms < minute) return `${(ms / second).toFixed(1)} s`;
  const minutes = Math.floor(ms / minute);
  return `${minutes} min ${Math.round((ms - minutes * minute) / second)} s`;
}

export const plural = (count: number, noun: string, many = `${noun}s`): string =>
  `${count.toLocaleString('en')} ${count === 1 ? noun : many}`;

/** `30s`, `10m`, `2h`, `7d` (or plain milliseconds) as milliseconds; null where it is none of these. */
export function parseDuration(text: string): number | null {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(text);
  if (match === null) return null;
  const unit = { ms: 1, s: second, m: minute, h: hour, d: day }[match[2] as 'ms' | 's' | 'm' | 'h' | 'd'];
  return Number(match[1]) * unit;
}

const protocolNames: Readonly<Record<number, string>> = { 1: 'icmp', 6: 'tcp', 17: 'udp', 58: 'icmpv6', 132: 'sctp' };

export const protocolText = (protocol: number): string => protocolNames[protocol] ?? `ip/${protocol}`;

/** `tcp/5432`, `icmp/8:0`, `ip/47`. */
export function serviceText(protocol: number, port: number): string {
  if (protocol === 1 || protocol === 58) return `${protocolText(protocol)}/${port >> 8}:${port & 255}`;
  return port === 0 && protocolNames[protocol] === undefined
    ? protocolText(protocol)
    : `${protocolText(protocol)}/${port}`;
}

/** Label maps as people write them: `a=b,c=d`, facts last. */
export function labelsText(labels: Readonly<Record<string, string>>): string {
  const facts = (key: string): number => (key.startsWith('bulkhead.dev/') ? 1 : 0);
  return Object.entries(labels)
    .toSorted(([a], [b]) => facts(a) - facts(b) || (a < b ? -1 : 1))
    .map(([key, value]) => `${key}=${value}`)
    .join(',');
}
