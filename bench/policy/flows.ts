/** How many flows a second are simulated, and decided one by one, under generated documents. */
import {
  createPolicySet,
  createSimulation,
  decide,
  type Document,
  type Flow,
  type FlowColumns,
  type PolicySet,
  reasonText,
  recordedVerdicts,
} from '@bulkhead/policy';
import {
  generateDocuments,
  generateFlow,
  generateIdentities,
  generateKubernetesDocuments,
  type Random,
  seededRandom,
} from '@bulkhead/policy/testing';

export interface FlowRates {
  readonly simulated: number;
  readonly decided: number;
}

const seed = 20_261_122;
const sizes = { segments: 40, policies: 100, kubernetes: 0 } as const;
const kubernetesDocuments = 20;
const identityCount = 200;
/** Distinct flows, and how often each happened: a recording repeats itself. */
const groups = 20_000;
const repeats = 250;
const decisions = 20_000;

/** About what the rates hold for, for people. */
export const flowsAbout = `${sizes.policies + kubernetesDocuments} policies, ${identityCount} identities`;
export const simulatedAbout = `${groups * repeats} recorded flows in ${groups} groups of equal ones; ${flowsAbout}`;

export class FlowWorld {
  readonly #before: PolicySet;
  readonly #proposed: PolicySet;
  readonly #flows: readonly Flow[];
  readonly #recorded: ReturnType<typeof record>;

  constructor() {
    const random = seededRandom(seed);
    const documents = [
      ...generateDocuments(random, sizes),
      ...generateKubernetesDocuments(random, kubernetesDocuments),
    ];
    this.#before = policySetOf(documents);
    // The proposal: one policy more and one less.
    const [extra] = generateDocuments(random, { segments: 0, policies: 1 }).slice(-1);
    this.#proposed = policySetOf([...documents.slice(0, -1), renamed(extra!, 'proposed')]);
    this.#flows = flowsOf(random);
    this.#recorded = record(this.#before, this.#flows);
  }

  measure(): FlowRates {
    const started = performance.now();
    const simulation = createSimulation(this.#proposed);
    simulation.add(this.#recorded);
    const { flows } = simulation.result();
    const simulated = flows / ((performance.now() - started) / 1000);
    if (flows !== groups * repeats) throw new Error(`${flows} flows were simulated of ${groups * repeats}`);

    const from = performance.now();
    for (const flow of this.#flows.slice(0, decisions)) decide(this.#before, flow);
    return { simulated, decided: decisions / ((performance.now() - from) / 1000) };
  }
}

function policySetOf(documents: readonly Document[]): PolicySet {
  const result = createPolicySet(documents, { checkCondition: () => null });
  if (result.kind === 'refused') throw new Error(JSON.stringify(result.problems));
  return result.policySet;
}

function renamed(document: Document, name: string): Document {
  return { ...document, metadata: { ...document.metadata, name } } as Document;
}

function flowsOf(random: Random): readonly Flow[] {
  const identities = generateIdentities(random, identityCount);
  return Array.from({ length: groups }, () => generateFlow(random, identities));
}

function record(set: PolicySet, flows: readonly Flow[]) {
  const [parties, reasons] = [new Numbered<Flow['source']>(), new Numbered<string>()];
  const columns: FlowColumns = {
    length: flows.length,
    source: new Uint32Array(flows.length),
    destination: new Uint32Array(flows.length),
    protocol: new Uint8Array(flows.length),
    port: new Uint16Array(flows.length),
    count: new Float64Array(flows.length).fill(repeats),
    verdict: new Uint8Array(flows.length),
    asked: new Uint8Array(flows.length),
    egressReason: new Uint32Array(flows.length),
    ingressReason: new Uint32Array(flows.length),
  };
  for (const [row, flow] of flows.entries()) {
    const { action, egress, ingress } = decide(set, flow);
    columns.source[row] = parties.of(JSON.stringify(flow.source), flow.source);
    columns.destination[row] = parties.of(JSON.stringify(flow.destination), flow.destination);
    columns.protocol[row] = flow.protocol;
    columns.port[row] = flow.port;
    columns.asked[row] = Number(action === 'ask');
    columns.verdict[row] = recordedVerdicts.indexOf(action === 'ask' ? 'allow' : action);
    const [egressReason, ingressReason] = [reasonText(egress.reason), reasonText(ingress.reason)];
    columns.egressReason[row] = reasons.of(egressReason, egressReason);
    columns.ingressReason[row] = reasons.of(ingressReason, ingressReason);
  }
  return { parties: parties.items, reasons: reasons.items, batches: [columns] };
}

class Numbered<Item> {
  readonly items: Item[] = [];
  readonly #numbers = new Map<string, number>();

  of(key: string, item: Item): number {
    let number = this.#numbers.get(key);
    if (number === undefined) {
      number = this.items.push(item) - 1;
      this.#numbers.set(key, number);
    }
    return number;
  }
}
