/**
 * A child process: makes the TLS connections that its argument lists (JSON, `TlsAttempt[]`) from whatever namespace it was started in,
 * sends a request over each, and prints what came of them (`TlsOutcome[]`).
 */
import process from 'node:process';
import { connect, type ConnectionOptions } from 'node:tls';

export interface TlsAttempt {
  readonly host: string;
  readonly port: number;
  readonly options: ConnectionOptions;
  /** Sent as it is once the connection is open. */
  readonly request: string;
}

export interface TlsOutcome {
  /** First line of the answer; '' where there was none. */
  readonly statusLine: string;
  readonly answer: string;
  readonly error: string | null;
}

const timeoutMs = 5000;
const answerMax = 8192;

function attempt({ host, port, options, request }: TlsAttempt): Promise<TlsOutcome> {
  return new Promise((resolve) => {
    let answer = '';
    const socket = connect({ ...options, host, port }, () => socket.write(request));
    const end = (error: string | null): void => {
      socket.destroy();
      resolve({ statusLine: answer.split('\r\n')[0]!, answer, error });
    };
    socket.setEncoding('utf8').on('data', (part: string) => {
      answer += part;
      if (answer.includes('\r\n\r\n') || answer.length > answerMax) setTimeout(() => end(null), 100);
    });
    socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message));
    socket.on('close', () => end('closed'));
    setTimeout(() => end('timeout'), timeoutMs);
  });
}

const listed = process.argv[2];
if (listed !== undefined) {
  const outcomes = await Promise.all((JSON.parse(listed) as readonly TlsAttempt[]).map(attempt));
  process.stdout.write(JSON.stringify(outcomes), () => process.exit(0));
}
