/**
 * One agent's connection: hello, then messages both ways until either end closes. Questions are answered as they come; batches and
 * reports keep their order; what is not yet handled is bounded by pausing the socket.
 */
import { decodeAgentMessage, encodeManagerMessage, linkVersion } from '@bulkhead/protocol';
import type { AgentMessage, DecisionMessage, ManagerMessage } from '@bulkhead/protocol';
import type { WebSocket } from 'ws';
import type { LinkServices } from './services.ts';

/** How long an agent may take for its hello, and a message for the way out before the connection counts as dead. */
const helloTimeoutMs = 10_000;
const pingEveryMs = 15_000;
/** Bytes that were received and not yet handled, at which reading pauses. */
const unhandledBytesMax = 8 * 1024 * 1024;
/** Bytes on their way out, answers included, at which an agent that does not read is cut off. */
const unsentBytesCut = 64 * 1024 * 1024;
/** WebSocket close codes: policy violation, internal error, try again later. */
const closeCode = { refused: 1008, failed: 1011, again: 1013 } as const;

type Message<Type extends AgentMessage['type']> = Extract<AgentMessage, { type: Type }>['body'];

/** Frames that bring an agent from one revision to the present one; shared by all connections that need the same. */
export interface DesiredFrames {
  readonly revision: number;
  readonly frames: readonly Uint8Array[];
}

export interface ConnectionOptions {
  readonly host: string;
  /** When the certificate that was shown ends. */
  readonly notAfterMs: number;
  readonly socket: WebSocket;
  readonly services: LinkServices;
  readonly desired: (from: number) => DesiredFrames;
  /** Called once, when the hello was accepted. */
  readonly onReady: (connection: Connection) => void;
  readonly onClose: (connection: Connection) => void;
}

export class Connection {
  readonly host: string;
  readonly #socket: WebSocket;
  readonly #options: ConnectionOptions;
  readonly #services: LinkServices;
  #boot: string | null = null;
  #revision = 0;
  /** Frames of the desired state that have not been handed to the socket. */
  #outbox: Uint8Array[] = [];
  #sending = false;
  #unhandledBytes = 0;
  #paused = false;
  #answered = true;
  #closed = false;
  /** After goodbye: what still arrives is not handled, so that it cannot overtake what the host's next connection says. */
  #ending = false;
  /** The tail of what is handled in order. */
  #ordered: Promise<void> = Promise.resolve();
  readonly #timers: { hello: NodeJS.Timeout; ping: NodeJS.Timeout };

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.host = options.host;
    this.#socket = options.socket;
    this.#services = options.services;
    this.#socket.on('message', (data, isBinary) => this.#onMessage(data as Buffer, isBinary));
    this.#socket.on('pong', () => (this.#answered = true));
    this.#socket.on('error', (error) =>
      this.#services.logger.warn({ host: this.host, error: error.message }, 'link error'),
    );
    this.#socket.on('close', () => this.#onClose());
    this.#timers = {
      hello: setTimeout(() => this.goodbye('no hello in time', 'refused'), helloTimeoutMs),
      ping: setInterval(() => this.#ping(), pingEveryMs),
    };
  }

  /** True after the hello, until the end. */
  get ready(): boolean {
    return this.#boot !== null && !this.#closed && !this.#ending;
  }

  send(message: ManagerMessage): void {
    if (this.#closed) return;
    if (this.#socket.bufferedAmount > unsentBytesCut) return this.cut();
    this.#socket.send(encodeManagerMessage(message), { binary: true });
  }

  decide(decisions: readonly DecisionMessage[]): void {
    if (decisions.length > 0) this.send({ type: 'decisions', body: { decisions: [...decisions] } });
  }

  /** Sends what changed since the last time. While an agent is slow, its next difference waits and grows. */
  deliver(): void {
    if (!this.ready || this.#revision >= this.#services.committer.state.desiredRevision) return;
    if (!this.#sending) this.#sendDesired();
  }

  goodbye(reason: string, code: keyof typeof closeCode): void {
    if (this.#closed || this.#ending) return;
    this.#ending = true;
    this.send({ type: 'goodbye', body: { reason: reason.slice(0, 1024) } });
    this.#socket.close(closeCode[code], reason.slice(0, 100));
  }

  /** Ends the connection at once. For a host whose certificate does not count any more, nothing is flushed. */
  cut(): void {
    // What it sent before and is not handled yet does not count either.
    this.#ending = true;
    this.#socket.terminate();
  }

  #sendDesired(): void {
    const { revision, frames } = this.#options.desired(this.#revision);
    this.#revision = revision;
    this.#outbox = [...frames];
    this.#sending = true;
    this.#sendNext();
  }

  /** One frame after the other has left: what waits for a slow agent is shared with all others, and not yet encrypted. */
  #sendNext(): void {
    const frame = this.#outbox.shift();
    if (frame === undefined) {
      this.#sending = false;
      return this.deliver();
    }
    this.#socket.send(frame, { binary: true }, (error) => {
      if (error === undefined || error === null) this.#sendNext();
    });
  }

  #onMessage(data: Buffer, isBinary: boolean): void {
    if (this.#closed || this.#ending) return;
    if (!isBinary) return this.#malformed('frame', 'text instead of a binary frame');
    const decoded = decodeAgentMessage(data);
    if (decoded.kind === 'malformed') return this.#malformed(decoded.path, decoded.reason);
    const { message } = decoded;
    if (this.#boot === null) {
      if (message.type === 'hello') this.#onHello(message.body);
      else this.#malformed(message.type, 'the first message must be hello');
      return;
    }
    this.#unhandledBytes += data.length;
    if (this.#unhandledBytes > unhandledBytesMax && !this.#paused) {
      this.#paused = true;
      this.#socket.pause();
    }
    const handled = message.type === 'questions' ? this.#ask(message.body) : this.#inOrder(message);
    void handled
      .catch((error: unknown) => {
        // The stores failed. Nothing is acknowledged: the agent sends it again after it has connected again.
        this.#services.logger.error({ host: this.host, type: message.type, error }, 'message not handled');
        this.goodbye('the manager could not handle a message', 'failed');
      })
      .finally(() => {
        this.#unhandledBytes -= data.length;
        if (this.#paused && this.#unhandledBytes <= unhandledBytesMax / 2) {
          this.#paused = false;
          this.#socket.resume();
        }
      });
  }

  #onHello(hello: Message<'hello'>): void {
    if (hello.host !== this.host) {
      this.#tell('link.refused', hello.host, 'the hello names another host than the certificate');
      return this.goodbye(`the certificate is of host ${this.host}, not ${hello.host}`, 'refused');
    }
    clearTimeout(this.#timers.hello);
    this.#boot = hello.boot;
    const { state } = this.#services.committer;
    this.#services.presence.connected(this.host, hello);
    this.send({ type: 'welcome', body: { version: linkVersion, host: this.host, revision: state.desiredRevision } });
    this.send({ type: 'enforcement', body: { on: state.enforcement.on } });
    for (const [workload, mode] of state.adoptions) {
      if (workload.startsWith(`${this.host}/`)) this.send({ type: 'adopt', body: { workload, mode } });
    }
    this.#revision = hello.revision;
    this.#sendDesired();
    this.decide(this.#services.questions.undelivered(this.host));
    this.#options.onReady(this);
  }

  async #ask({ questions }: Message<'questions'>): Promise<void> {
    this.decide(await this.#services.questions.ask(this.host, questions));
  }

  #inOrder(message: AgentMessage): Promise<void> {
    const done = this.#ordered.then(() => (this.#closed || this.#ending ? undefined : this.#handle(message)));
    // The next one runs although this one failed: the connection is about to end, and says so to the agent.
    this.#ordered = done.catch(() => undefined);
    return done;
  }

  async #handle(message: AgentMessage): Promise<void> {
    const { inventory, presence, questions, flows, divergences } = this.#services;
    switch (message.type) {
      case 'workloads': {
        const problems = await inventory.report(this.host, message.body);
        if (problems.length > 0)
          this.#services.logger.warn({ host: this.host, problems: problems.slice(0, 20) }, 'report');
        return;
      }
      case 'receipt':
        return presence.receipt(this.host, message.body);
      case 'status':
        return presence.status(this.host, message.body);
      case 'outcomes':
        return this.#batch(message.body.batch, () => questions.outcomes(this.host, message.body.outcomes));
      case 'divergences':
        return this.#batch(message.body.batch, () => divergences.append(this.host, message.body.divergences));
      case 'flows': {
        const { batch, lost } = message.body;
        return this.#batch(batch, () =>
          flows.append(this.host, { boot: this.#boot!, number: batch, lost }, message.body.flows),
        );
      }
      case 'renew':
        return this.#renew(message.body.request);
      case 'hello':
        return this.#malformed('hello', 'a second hello');
      case 'questions':
        return this.#ask(message.body);
    }
  }

  async #batch(batch: number, store: () => Promise<void>): Promise<void> {
    await this.#services.batches.take(this.host, this.#boot!, batch, store);
    this.send({ type: 'ack', body: { batch } });
  }

  async #renew(request: string): Promise<void> {
    const result = await this.#services.enrolment.renew(this.host, request);
    if (result.kind === 'refused') return this.goodbye(`renewal: ${result.why}`, 'refused');
    const { authorities } = this.#services;
    this.send({ type: 'certificate', body: { certificate: result.certificatePem, authorities } });
  }

  #malformed(path: string, reason: string): void {
    this.#services.logger.warn({ host: this.host, path, reason }, 'malformed message');
    this.#tell('link.malformed', path, reason);
    this.goodbye(`${path}: ${reason}`, 'refused');
  }

  #tell(action: string, subject: string, why: string): void {
    const { audit, auditLimit } = this.#services;
    if (!auditLimit.count(`link ${this.host}`).tell) return;
    void audit.record({ actor: `host/${this.host}`, action, subject, details: { why } });
  }

  #ping(): void {
    if (!this.#answered) return this.cut();
    if (this.#services.nowMs() > this.#options.notAfterMs) {
      return this.goodbye('the certificate has ended; connect with the renewed one', 'refused');
    }
    this.#answered = false;
    this.#socket.ping();
  }

  #onClose(): void {
    if (this.#closed) return;
    this.#closed = true;
    clearTimeout(this.#timers.hello);
    clearInterval(this.#timers.ping);
    this.#options.onClose(this);
  }
}
