/** The part of dns-packet that is used here; the package ships no types. */
declare module 'dns-packet' {
  export interface Question {
    readonly type: string;
    readonly name: string;
    readonly class?: string;
  }
  export interface Answer {
    readonly type: string;
    readonly name: string;
    readonly class?: string;
    readonly ttl?: number;
    readonly data?: unknown;
    /** EDNS pseudo-record only. */
    readonly udpPayloadSize?: number;
  }
  export interface Packet {
    readonly id?: number;
    readonly type?: 'query' | 'response';
    readonly flags?: number;
    readonly opcode?: string;
    readonly rcode?: string;
    readonly questions?: readonly Question[];
    readonly answers?: readonly Answer[];
    readonly authorities?: readonly Answer[];
    readonly additionals?: readonly Answer[];
  }
  export function encode(packet: Packet): Buffer;
  /** Throws for what is no message. A plain Uint8Array will not do. */
  export function decode(bytes: Buffer): Packet;
}
