/**
 * A child process: connects to its targets again and again, keeps one connection open that is echoed, and tells of all of it as lines of
 * JSON (`ProbeLine`). It ends with its standard input.
 */
import { connect, type Socket } from 'node:net';
import process from 'node:process';

export interface ProbeTarget {
  readonly name: string;
  readonly address: string;
  readonly port: number;
}

export interface ProbeSettings {
  readonly targets: readonly ProbeTarget[];
  /** Where the connection that stays goes; it is echoed there. */
  readonly stays: Omit<ProbeTarget, 'name'>;
  readonly everyMs: number;
  readonly timeoutMs: number;
}

export type ProbeLine =
  | {
      readonly kind: 'attempt';
      readonly target: string;
      readonly outcome: string;
      readonly atMs: number;
      readonly tookMs: number;
    }
  | { readonly kind: 'echo'; readonly atMs: number; readonly tookMs: number }
  | { readonly kind: 'broken'; readonly atMs: number; readonly why: string };

const tell = (line: ProbeLine): void => void process.stdout.write(`${JSON.stringify(line)}\n`);

function attempt({ name, address, port }: ProbeTarget, timeoutMs: number): void {
  const atMs = Date.now();
  let ended = false;
  const socket = connect(port, address);
  const end = (outcome: string): void => {
    if (ended) return;
    ended = true;
    socket.destroy();
    tell({ kind: 'attempt', target: name, outcome, atMs, tookMs: Date.now() - atMs });
  };
  socket.on('connect', () => end('connected'));
  socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? 'error'));
  setTimeout(() => end('timeout'), timeoutMs);
}

function stay(socket: Socket, everyMs: number): void {
  let sentMs = 0;
  const send = (): void => {
    sentMs = Date.now();
    socket.write('x');
  };
  socket.on('connect', send);
  socket.on('data', () => {
    tell({ kind: 'echo', atMs: sentMs, tookMs: Date.now() - sentMs });
    setTimeout(send, everyMs);
  });
  socket.on('error', (error) => tell({ kind: 'broken', atMs: Date.now(), why: error.message }));
  socket.on('close', () => tell({ kind: 'broken', atMs: Date.now(), why: 'closed' }));
}

const argument = process.argv[2];
if (argument !== undefined) {
  const { targets, stays, everyMs, timeoutMs } = JSON.parse(argument) as ProbeSettings;
  stay(connect(stays.port, stays.address), everyMs);
  setInterval(() => {
    for (const target of targets) attempt(target, timeoutMs);
  }, everyMs);
  process.stdin.on('end', () => process.exit(0)).resume();
}
