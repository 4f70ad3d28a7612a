/** Ethernet frames for test runs. */

function mac(text: string): number[] {
  return text.split(':').map((part) => Number.parseInt(part, 16));
}

function ipv4(text: string): number[] {
  return text.split('.').map(Number);
}

function checksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

export interface TcpFrame {
  readonly sourceMac: string;
  readonly destinationMac: string;
  readonly source: string;
  readonly destination: string;
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** TCP flags byte; 2 is SYN, 16 is ACK. */
  readonly flags: number;
}

/** A TCP segment without payload, 60 bytes; the TCP checksum is left zero, which the programs do not read. */
export function tcpFrame(frame: TcpFrame): Uint8Array {
  const bytes = new Uint8Array(60);
  const view = new DataView(bytes.buffer);
  bytes.set([...mac(frame.destinationMac), ...mac(frame.sourceMac), 8, 0]);
  bytes.set([0x45, 0, 0, 40, 0, 1, 0x40, 0, 64, 6, 0, 0, ...ipv4(frame.source), ...ipv4(frame.destination)], 14);
  view.setUint16(24, checksum(bytes.subarray(14, 34)));
  view.setUint16(34, frame.sourcePort);
  view.setUint16(36, frame.destinationPort);
  view.setUint32(38, 1);
  bytes[46] = 0x50;
  bytes[47] = frame.flags;
  view.setUint16(48, 65_535);
  return bytes;
}
