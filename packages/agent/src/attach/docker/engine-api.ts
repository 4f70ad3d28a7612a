/** The engine's HTTP API over its socket: what is read of it, as schemas, and the stream of its events. Only reads; bounded. */
import { request, type IncomingMessage } from 'node:http';
import { z } from 'zod';

const answerBytesMax = 256 * 1024 * 1024;
const answerMs = 30_000;
const errorTextMax = 500;
const eventBytesMax = 1024 * 1024;

const labels = z.record(z.string(), z.string()).nullish();

const containerNetwork = z.object({
  NetworkID: z.string(),
  EndpointID: z.string(),
  IPAddress: z.string().nullish(),
  GlobalIPv6Address: z.string().nullish(),
  Aliases: z.array(z.string()).nullish(),
  /** Newer engines: every name, aliases and the container's own included. */
  DNSNames: z.array(z.string()).nullish(),
  Links: z.array(z.string()).nullish(),
});

const containerInspect = z.object({
  Id: z.string(),
  Name: z.string(),
  Image: z.string(),
  State: z.object({ Status: z.string(), Running: z.boolean(), Pid: z.int(), StartedAt: z.string() }),
  Config: z.object({ Image: z.string(), Labels: labels, ExposedPorts: z.record(z.string(), z.unknown()).nullish() }),
  HostConfig: z.object({
    NetworkMode: z.string(),
    Runtime: z.string().nullish(),
    PortBindings: z.record(z.string(), z.unknown()).nullish(),
  }),
  NetworkSettings: z.object({ SandboxKey: z.string().nullish(), Networks: z.record(z.string(), containerNetwork) }),
});
export type ContainerInspect = z.infer<typeof containerInspect>;

const imageInspect = z.object({ Id: z.string(), Config: z.object({ Labels: labels }).nullish() });
export type ImageInspect = z.infer<typeof imageInspect>;

const ipamConfig = z.object({
  Subnet: z.string().nullish(),
  /** Addresses that somebody beside the engine has, by name. */
  AuxiliaryAddresses: z.record(z.string(), z.string()).nullish(),
});

const networkSummary = z.object({
  Id: z.string(),
  Name: z.string(),
  Driver: z.string(),
  IPAM: z.object({ Driver: z.string(), Config: z.array(ipamConfig).nullish() }),
});
export type NetworkSummary = z.infer<typeof networkSummary>;

const networkInspect = networkSummary.extend({
  /** Container → its endpoint. A key that begins with `ep-` is an endpoint whose sandbox is not known yet. */
  Containers: z.record(z.string(), z.object({ EndpointID: z.string() })).nullish(),
});
export type NetworkInspect = z.infer<typeof networkInspect>;

const engineEvent = z.object({
  Type: z.string(),
  Action: z.string(),
  Actor: z.object({ ID: z.string(), Attributes: z.record(z.string(), z.string()).nullish() }),
});
export type EngineEvent = z.infer<typeof engineEvent>;

/** The engine is away, or answered with an error. `status` is 0 where there was no answer. */
export class EngineError extends Error {
  readonly status: number;
  constructor(path: string, status: number, detail: string, options?: ErrorOptions) {
    super(`engine ${path}: ${status === 0 ? 'no answer' : `status ${status}`}: ${detail}`, options);
    this.name = 'EngineError';
    this.status = status;
  }
}

export class EngineApi {
  readonly #socket: string;
  constructor(socket: string) {
    this.#socket = socket;
  }

  /** Waits while the container is being started or stopped: the engine holds its lock. Undefined where it does not exist. */
  inspectContainer(container: string): Promise<ContainerInspect | undefined> {
    return this.#find(`/containers/${encodeURIComponent(container)}/json`, containerInspect);
  }
  async containerIds(): Promise<readonly string[]> {
    return (await this.#get('/containers/json?all=1', z.array(z.object({ Id: z.string() })))).map(({ Id }) => Id);
  }
  inspectImage(image: string): Promise<ImageInspect | undefined> {
    return this.#find(`/images/${encodeURIComponent(image)}/json`, imageInspect);
  }
  networks(): Promise<readonly NetworkSummary[]> {
    return this.#get('/networks', z.array(networkSummary));
  }
  /** Takes no container's lock, so it also answers in the middle of a start. */
  inspectNetwork(network: string): Promise<NetworkInspect | undefined> {
    return this.#find(`/networks/${encodeURIComponent(network)}`, networkInspect);
  }

  /** Calls `opened` once the engine listens to us, then `visit` for each event; rejects when the stream ends, for whatever reason. */
  events(opened: () => void, visit: (event: EngineEvent) => void, signal: AbortSignal): Promise<never> {
    const path = `/events?filters=${encodeURIComponent(JSON.stringify({ type: ['container', 'network'] }))}`;
    return new Promise((_, reject) => {
      const outgoing = request({ socketPath: this.#socket, path, signal }, (response) => {
        if (response.statusCode !== 200) {
          response.destroy();
          return reject(new EngineError('/events', response.statusCode ?? 0, 'refused'));
        }
        opened();
        let rest = '';
        response.setEncoding('utf8');
        response.on('data', (chunk: string) => {
          const lines = (rest + chunk).split('\n');
          rest = lines.pop() ?? '';
          if (rest.length > eventBytesMax) response.destroy(new EngineError('/events', 200, 'an event without end'));
          for (const line of lines) if (line.trim() !== '') visitLine(line, visit);
        });
        response.on('error', (cause) => reject(new EngineError('/events', 0, cause.message, { cause })));
        response.on('close', () => reject(new EngineError('/events', 0, 'the stream ended')));
      });
      outgoing.on('error', (cause) => reject(new EngineError('/events', 0, cause.message, { cause })));
      outgoing.end();
    });
  }

  async #find<T>(path: string, schema: z.ZodType<T>): Promise<T | undefined> {
    try {
      return await this.#get(path, schema);
    } catch (error) {
      if (error instanceof EngineError && error.status === 404) return undefined;
      throw error;
    }
  }

  async #get<T>(path: string, schema: z.ZodType<T>): Promise<T> {
    const { status, text } = await this.#fetch(path);
    if (status !== 200) throw new EngineError(path, status, text.slice(0, errorTextMax));
    const parsed = schema.safeParse(parseJson(text));
    if (parsed.success) return parsed.data;
    const issue = parsed.error.issues[0];
    throw new EngineError(path, status, `not understood at ${issue?.path.join('.')}: ${issue?.message}`);
  }

  async #fetch(path: string): Promise<{ readonly status: number; readonly text: string }> {
    try {
      const response = await new Promise<IncomingMessage>((resolve, reject) => {
        request({ socketPath: this.#socket, path, signal: AbortSignal.timeout(answerMs) }, resolve)
          .on('error', reject)
          .end();
      });
      return { status: response.statusCode ?? 0, text: await readText(response) };
    } catch (cause) {
      throw new EngineError(path, 0, cause instanceof Error ? cause.message : String(cause), { cause });
    }
  }
}

function visitLine(line: string, visit: (event: EngineEvent) => void): void {
  const parsed = engineEvent.safeParse(parseJson(line));
  if (parsed.success) visit(parsed.data);
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response as AsyncIterable<Buffer>) {
    bytes += chunk.length;
    if (bytes > answerBytesMax) throw new Error(`more than ${answerBytesMax} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString('utf8');
}
