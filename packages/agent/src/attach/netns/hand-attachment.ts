/**
 * Network namespaces and taps that somebody made by hand, or that a VM's launcher made, as workloads: `bulkhead attach`. A namespace gets
 * a veth with an address; a tap stays as it is, and its machine's MAC address has to be told.
 */
import { createHash } from 'node:crypto';
import { execFile } from 'node:child_process';
import { access } from 'node:fs/promises';
import type { InterfaceInfo } from '@bulkhead/kernel';
import type { Belief } from '../../divergence/watch.ts';
import type { AttachContext, Attachment, LocalWorkload } from '../../model.ts';
import { hostLinkLocal, type HostNetwork } from '../../nat/host-network.ts';
import { endpointPrefix } from '../../nat/ruleset.ts';
import type { Records } from '../../state.ts';
import { AddressBook } from '../docker/address-book.ts';
import { openPoolRecords } from '../docker/docker-records.ts';
import { KeyedQueue } from '../docker/keyed-queue.ts';
import { gatewayMac } from '../docker/network-driver.ts';
import { contains, hostNetwork as alone, parseAddress, parseNetwork } from '../network-address.ts';
import { attachRequest, detachRequest, openHandRecords, type AttachRequest, type HandRecord } from './hand-records.ts';

export class AttachError extends Error {
  override readonly name = 'AttachError';
}

/** Where `bulkhead attach` takes addresses from that were not named. Beside the block of Docker's networks. */
const pool = { cidr: '10.224.0.0/16', gateway: '10.224.0.1' } as const;
const gatewayIpv6 = 'fd62:6866::1';
const networkIpv6 = 'fd62:6866::/64';
const attachedMax = 4096;
const toolMs = 10_000;

export class HandAttachment implements Attachment {
  readonly commands: ReadonlyMap<string, (argument: unknown) => Promise<unknown>>;
  readonly #context: AttachContext;
  readonly #hostNetwork: HostNetwork;
  readonly #records: Records<HandRecord>;
  readonly #addresses: AddressBook;
  readonly #queue = new KeyedQueue();
  readonly #poolId: string;

  static async open(context: AttachContext, hostNetwork: HostNetwork, quarantineMs: number): Promise<HandAttachment> {
    const attachment = new HandAttachment(context, hostNetwork, quarantineMs);
    await attachment.resync();
    return attachment;
  }

  private constructor(context: AttachContext, hostNetwork: HostNetwork, quarantineMs: number) {
    const { state, nowMs } = context;
    this.#context = context;
    this.#hostNetwork = hostNetwork;
    this.#records = openHandRecords(state);
    this.#addresses = new AddressBook({ ...openPoolRecords(state, 'hand'), state, quarantineMs, nowMs });
    const open = this.#addresses.pools()[0];
    this.#poolId =
      open?.poolId ??
      this.#addresses.requestPool({ space: 'hand', network: pool.cidr, range: null, ipv6: false }).poolId;
    if (open === undefined) this.#addresses.requestAddress(this.#poolId, pool.gateway);
    this.commands = new Map<string, (argument: unknown) => Promise<unknown>>([
      ['attach', (argument) => this.attach(attachRequest.parse(argument))],
      ['detach', (argument) => this.detach(detachRequest.parse(argument).name)],
      ['attached', () => Promise.resolve(this.#records.entries().map(([, record]) => record))],
    ]);
  }

  /** Idempotent: the same request again changes nothing. Leaves nothing where it fails. */
  attach(request: AttachRequest): Promise<HandRecord> {
    return this.#queue.run(request.name, async () => {
      const former = this.#records.get(request.name);
      if (former !== undefined) {
        if (JSON.stringify(former.request) === JSON.stringify(request)) return former;
        throw new AttachError(`${request.name} is attached already, otherwise: detach it first`);
      }
      if (this.#records.entries().length >= attachedMax)
        throw new AttachError(`no more than ${attachedMax} attachments`);
      const record = this.#newRecord(request);
      this.#records.set(record.name, record);
      try {
        await this.#applyHost();
        await this.#connect(record);
        return record;
      } catch (error) {
        await this.#remove(record);
        throw error;
      }
    });
  }

  detach(name: string): Promise<{ readonly detached: boolean }> {
    return this.#queue.run(name, async () => {
      const record = this.#records.get(name);
      if (record === undefined) return { detached: false };
      await this.#remove(record);
      return { detached: true };
    });
  }

  /** What is gone from the host (after a reboot, or because somebody deleted it) is detached; the rest is put into the kernel again. */
  async resync(): Promise<void> {
    const interfaces = new Map((await this.#context.kernel.routes.interfaces()).map((found) => [found.name, found]));
    for (const [, record] of this.#records.entries()) {
      const found = interfaces.get(record.interfaceName);
      if (found !== undefined) await this.#register(record, found);
      else {
        this.#context.log.warn({ name: record.name }, 'what was attached is gone');
        await this.#remove(record);
      }
    }
    if (this.#records.entries().length > 0) await this.#applyHost();
  }

  /** What was attached by command exists as long as its record does; it declares no ports. */
  beliefs(): readonly Belief[] {
    return this.#records.entries().map(([, record]) => {
      const { workload, name, isolationClass } = workloadOf(this.#context.host, record);
      const endpoints = [{ endpoint: record.endpoint, addresses: addressesOf(record) }];
      const base = { workload, name, isolationClass, endpoints, running: true };
      return { workload: { ...base, ungovernedBecause: null, declaredPorts: null, runtime: 'none' }, pid: null };
    });
  }

  adopt(): Promise<boolean> {
    return Promise.resolve(false);
  }

  /** Attachments stay: what is attached goes on being judged. */
  [Symbol.asyncDispose](): Promise<void> {
    return Promise.resolve();
  }

  #newRecord(request: AttachRequest): HandRecord {
    const digest = createHash('sha256').update(`${request.name} ${this.#context.nowMs()}`).digest('hex');
    const taken = this.#context.registry
      .endpoints()
      .find((other) =>
        [other.ipv4, other.ipv6].some(
          (address) => address !== null && (address === request.ipv4 || address === request.ipv6),
        ),
      );
    if (taken !== undefined)
      throw new AttachError(`${request.name}: its address is that of endpoint ${taken.endpoint}`);
    const isTap = request.kind === 'tap';
    return {
      name: request.name,
      endpoint: `${request.kind}-${request.name}`,
      request,
      interfaceName: isTap ? request.tap : `${endpointPrefix}${digest.slice(0, 10)}`,
      mac: isTap ? request.mac : `02:${digest.slice(10, 20).match(/../g)!.join(':')}`,
      ipv4: this.#ipv4Of(request),
      ipv6: request.ipv6 ?? null,
      generation: 1,
      createdMs: this.#context.nowMs(),
    };
  }

  /** A named address of the pool is taken from it, so that it is nobody else's choice. */
  #ipv4Of({ ipv4, ipv6 }: AttachRequest): string | null {
    if (ipv4 === undefined) return ipv6 === undefined ? this.#addresses.requestAddress(this.#poolId, null) : null;
    const isOfPool = contains(parseNetwork(pool.cidr)!, parseAddress(ipv4)!);
    return isOfPool ? this.#addresses.requestAddress(this.#poolId, ipv4) : ipv4;
  }

  async #connect(record: HandRecord): Promise<void> {
    const { routes } = this.#context.kernel;
    const { request, interfaceName } = record;
    if (request.kind === 'tap') {
      const found = (await routes.interfaces()).find((candidate) => candidate.name === request.tap);
      if (found === undefined) throw new AttachError(`there is no interface ${request.tap}`);
      if (found.kind !== 'tun') throw new AttachError(`${request.tap} is a ${found.kind}, not a tap`);
      await this.#register(record, found);
    } else {
      await access(request.path).catch((cause: unknown) => {
        throw new AttachError(`there is no network namespace ${request.path}`, { cause });
      });
      const peer = peerName(record);
      const made = await routes.createVeth({
        name: interfaceName,
        peer,
        mac: gatewayMac,
        peerMac: record.mac,
        mtu: request.mtu,
      });
      await this.#register(record, made);
      await this.#moveInside(record, request.path, peer, request.interface);
    }
    if (record.ipv6 !== null) await routes.setAddress(interfaceName, `${hostLinkLocal}/64`);
    await routes.setUp(interfaceName, true);
    for (const address of addressesOf(record)) await routes.setRoute(alone(address), interfaceName);
  }

  async #register(record: HandRecord, found: InterfaceInfo): Promise<void> {
    const { registry } = this.#context;
    await registry.addEndpoint({
      ...{ endpoint: record.endpoint, kind: record.request.kind === 'tap' ? 'tap' : 'veth', ifindex: found.ifindex },
      ...{ interfaceName: record.interfaceName, mac: record.mac, gatewayMac, ipv4: record.ipv4, ipv6: record.ipv6 },
      ...{ mtu: found.mtu, network: '', labels: {}, mode: 'enforce' },
    });
    registry.bindWorkload(record.endpoint, workloadOf(this.#context.host, record));
  }

  async #moveInside(record: HandRecord, path: string, peer: string, name: string): Promise<void> {
    await run('ip', ['link', 'set', 'dev', peer, 'netns', path]);
    const lines = [`link set dev ${peer} name ${name}`, 'link set dev lo up'];
    for (const address of addressesOf(record))
      lines.push(`address add ${alone(address)} dev ${name}${address.includes(':') ? ' nodad' : ''}`);
    lines.push(`link set dev ${name} up`);
    for (const address of addressesOf(record)) {
      const gateway = address.includes(':') ? gatewayIpv6 : pool.gateway;
      lines.push(`route add ${alone(gateway)} dev ${name}`, `route add default via ${gateway} dev ${name}`);
    }
    // One process for all of it: it ends at the first line that fails.
    await run('nsenter', [`--net=${path}`, 'ip', '-batch', '-'], `${lines.join('\n')}\n`);
  }

  async #remove(record: HandRecord): Promise<void> {
    const { registry, kernel, host } = this.#context;
    await registry.removeEndpoint(record.endpoint);
    // A tap belongs to whoever made it.
    if (record.request.kind === 'netns') await kernel.routes.deleteInterface(record.interfaceName);
    else
      for (const address of addressesOf(record)) await kernel.routes.removeRoute(alone(address), record.interfaceName);
    registry.removeWorkload(workloadOf(host, record).workload);
    if (record.ipv4 !== null) this.#addresses.releaseAddress(this.#poolId, record.ipv4);
    this.#records.delete(record.name);
    await this.#applyHost();
  }

  #applyHost(): Promise<void> {
    const records = this.#records.entries().map(([, record]) => record);
    const base = { masquerade: true, internal: false };
    return this.#hostNetwork.set('hand', {
      networks: [
        ...(records.some(({ ipv4 }) => ipv4 !== null) ? [{ ...base, cidr: pool.cidr, gateway: pool.gateway }] : []),
        ...(records.some(({ ipv6 }) => ipv6 !== null) ? [{ ...base, cidr: networkIpv6, gateway: gatewayIpv6 }] : []),
      ],
      published: [],
      interfaces: records.filter(({ request }) => request.kind === 'tap').map((record) => record.interfaceName),
    });
  }
}

const peerName = (record: HandRecord): string => `bhp${record.interfaceName.slice(endpointPrefix.length)}`;

const addressesOf = (record: HandRecord): readonly string[] =>
  [record.ipv4, record.ipv6].filter((address) => address !== null);

function workloadOf(host: string, record: HandRecord): LocalWorkload {
  const { request } = record;
  return {
    workload: `${host}/${request.kind}/${record.name}`,
    name: record.name,
    engine: request.kind,
    labels: request.labels,
    image: null,
    imageDigest: null,
    isolationClass: request.isolationClass ?? (request.kind === 'tap' ? 'vm' : 'shared'),
    boundary: 'none',
    generation: record.generation,
    governance: 'governed',
    ungovernedBecause: null,
    startedMs: record.createdMs,
  };
}

function run(command: string, args: readonly string[], input = ''): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = execFile(command, args, { timeout: toolMs, encoding: 'utf8' }, (error, _stdout, stderr) => {
      if (error === null) return resolve();
      const what = [command, ...args].join(' ');
      reject(new AttachError(`${what}: ${stderr.trim() || error.message}`, { cause: error }));
    });
    // A tool that ended early is judged by its exit code, not by the pipe.
    child.stdin?.on('error', () => {});
    child.stdin?.end(input);
  });
}
