import type { CompilerChange } from '../compile/update.ts';
import { type Document, documentKey, documentName } from '../documents/document.ts';
import { factPrefix, type IdentityId, identityFirst, type Labels } from '../model.ts';
import { changePolicySet, type PolicySet, type PolicySetOptions } from '../resolve/policy-set.ts';
import type { CompiledWorld } from './compiled.ts';
import { hostIdentity } from './compiled.ts';
import { generatedTiers, generateHostLabels, generateLabels, generatePolicy, generateSegment } from './generate.ts';
import { generateKubernetesDocument } from './kubernetes.ts';
import { chance, pick, type Random } from './random.ts';

export interface WorldChange {
  readonly world: CompiledWorld;
  /** What the compiler is told about the difference. */
  readonly change: CompilerChange;
}

const stepsMax = 3;
const identitiesMax = 12;
const namesMax = 6;
const options: PolicySetOptions = { checkCondition: () => null };
const features = { live: true, staged: true, hosts: true };

/** Another world after a few random steps: identities, subjects, documents of every kind, the host's labels. */
export function generateChange(random: Random, world: CompiledWorld): WorldChange {
  const steps = new Steps(random, world);
  for (let left = 1 + random(stepsMax); left > 0; left--) steps.step();
  return steps.result();
}

class Steps {
  readonly #random: Random;
  readonly #before: CompiledWorld;
  readonly #identities: Map<IdentityId, Labels>;
  readonly #subjects: Set<IdentityId>;
  readonly #set = new Map<IdentityId, Labels>();
  readonly #removed = new Set<IdentityId>();
  readonly #subjectsAdded = new Set<IdentityId>();
  readonly #subjectsRemoved = new Set<IdentityId>();
  readonly #documents = new Map<string, Document>();
  readonly #gone: { readonly kind: string; readonly name: string }[] = [];
  #host: Labels | undefined;

  constructor(random: Random, before: CompiledWorld) {
    this.#random = random;
    this.#before = before;
    this.#identities = new Map(before.identities);
    this.#subjects = new Set(before.subjects);
    this.#host = before.host;
  }

  step(): void {
    const random = this.#random;
    const identity = (chance(random, 10) ? hostIdentity : identityFirst + random(identitiesMax)) as IdentityId;
    switch (random(12)) {
      case 0:
      case 1:
        return this.#relabel(identity);
      case 2:
        return this.#remove(identity);
      case 3:
        return this.#addSubject(identity);
      case 4:
        return this.#removeSubject(identity);
      case 5:
        this.#host = generateHostLabels(random);
        return;
      case 6:
        return this.#removeDocument();
      default:
        return this.#setDocument();
    }
  }

  #relabel(identity: IdentityId): void {
    if (identity === hostIdentity || this.#removed.has(identity)) return;
    const labels = this.#identities.get(identity);
    // Often what was measured changes alone, which no selector looks at.
    const measured = { ...labels, [`${factPrefix}class`]: pick(this.#random, ['shared', 'sandbox', 'microvm']) };
    const after = labels !== undefined && chance(this.#random, 50) ? measured : generateLabels(this.#random);
    this.#set.set(identity, after);
    this.#identities.set(identity, after);
  }

  #remove(identity: IdentityId): void {
    if (identity === hostIdentity || this.#set.has(identity) || this.#subjectsAdded.has(identity)) return;
    this.#identities.delete(identity);
    this.#subjects.delete(identity);
    this.#removed.add(identity);
  }

  #addSubject(identity: IdentityId): void {
    const known = identity === hostIdentity || this.#identities.has(identity);
    if (!known || this.#subjectsRemoved.has(identity)) return;
    this.#subjects.add(identity);
    this.#subjectsAdded.add(identity);
  }

  #removeSubject(identity: IdentityId): void {
    if (this.#subjectsAdded.has(identity)) return;
    this.#subjects.delete(identity);
    this.#subjectsRemoved.add(identity);
  }

  #setDocument(): void {
    const random = this.#random;
    const name = String(random(namesMax));
    const kind = random(4);
    const segments = [...this.#before.policySet.segments.keys()];
    const document =
      kind === 0
        ? generateSegment(random, `s${name}`, features)
        : kind === 1
          ? generatePolicy(random, `p${name}`, segments, generatedTiers, features)
          : generateKubernetesDocument(random);
    this.#documents.set(documentKey(document), document);
  }

  #removeDocument(): void {
    const there = Object.values(
      this.#before.policySet.documents as Record<string, ReadonlyMap<string, Document>>,
    ).flatMap((documents) => [...documents.values()]);
    if (there.length === 0) return;
    const document = pick(this.#random, there);
    this.#gone.push({ kind: document.kind, name: documentName(document) });
  }

  /** Documents that would leave a reference behind change nothing. */
  #policySet(): PolicySet {
    const change = { set: [...this.#documents.values()], removed: this.#gone };
    const result = changePolicySet(this.#before.policySet, change, options);
    return result.kind === 'ok' ? result.policySet : this.#before.policySet;
  }

  result(): WorldChange {
    const policySet = this.#policySet();
    const host = this.#host;
    const [identities, subjects] = [this.#identities, this.#subjects];
    return {
      world: { ...this.#before, policySet, identities, subjects, ...(host === undefined ? {} : { host }) },
      change: {
        policySet,
        ...(host === undefined ? {} : { host }),
        identities: { set: this.#set, removed: this.#removed },
        subjects: { added: this.#subjectsAdded, removed: this.#subjectsRemoved },
      },
    };
  }
}
