export * from './model.ts';
export type {
  AdminNetworkPolicyDocument,
  BaselineAdminNetworkPolicyDocument,
  ClusterNetworkPolicyDocument,
  Document,
  DocumentKind,
  DocumentOf,
  InvariantDocument,
  NamespaceDocument,
  NetworkPolicyDocument,
  PeerDocument,
  PolicyDocument,
  PortDocument,
  RuleAction,
  RuleDocument,
  RuleKind,
  RulesDocument,
  SegmentDocument,
  TierDocument,
  WallDocument,
} from './documents/document.ts';
export { documentKey, documentName, isRuleKind, policyReference, ruleKinds } from './documents/document.ts';
export { isStaged } from './documents/kubernetes-form.ts';
export { canonicalDocument, canonicalText } from './documents/canonical.ts';
export { documentLabelKeys, rulePeers } from './documents/label-keys.ts';
export { documentJsonSchema, documentKinds } from './documents/json-schema.ts';
export { labelKeyFault, labelValueFault, nearestName } from './documents/names.ts';
export { type DocumentSource, parseDocument, type ParsedDocument } from './documents/parse.ts';
export { apiVersion } from './documents/schema.ts';
export { addressBits, parsePrefix, prefixContains, type Prefix } from './select/prefix.ts';
export { addressFactKey, addressFacts, isAddressFact } from './select/address-facts.ts';
export { canonicalDnsName, dnsNameMatches } from './select/dns-name.ts';
export { type Selector, selectorMatches } from './select/selector.ts';
export {
  changePolicySet,
  type ConditionFault,
  createPolicySet,
  type DocumentsByKind,
  emptyPolicySet,
  policyDocument,
  type PolicySet,
  type PolicySetChange,
  type PolicySetOptions,
  type PolicySetResult,
} from './resolve/policy-set.ts';
export { findRule, type QuestionTerms, questionTerms } from './resolve/question.ts';
export type { Invariant } from './resolve/invariant.ts';
export { namespaceNameLabel, namespaceOf } from './resolve/namespace.ts';
export { builtinTiers, type Tier } from './resolve/precedence.ts';
export type { NamespaceSelection, Network, Peer, Peers } from './resolve/peers.ts';
export { type NamedPort, portListSpans, type PortSpan, type RulePorts } from './resolve/ports.ts';
export type { ResolvedRule, RuleBlock } from './resolve/rule.ts';
export { changedPolicies, policyRules, rulesInOrder } from './resolve/rules-in-order.ts';
export { stagedPolicySet } from './resolve/staged.ts';
export { reasonText } from './resolve/reason.ts';
export { isolationSuffices, type Membership, membershipOf, type Segment } from './resolve/segment.ts';
export {
  combinedAction,
  decide,
  decideSide,
  isGuarded,
  isSubject,
  segmentsOf,
  segmentsOfParty,
} from './decide/decide.ts';
export { guardFact, guardSpans, needsForce } from './decide/lock-out-guard.ts';
export {
  checkCondition,
  compileCondition,
  type Condition,
  type ConditionCheck,
  conditionFault,
  type ConditionOutcome,
} from './conditions/condition.ts';
export type { Dependency } from './conditions/environment.ts';
export { type ConditionFacts, conditionEnvironment, type PartyFacts, type TimeFacts } from './conditions/facts.ts';
export type { ConditionProblem } from './conditions/syntax.ts';
export { type ZoneClock, zoneClock } from './conditions/zone.ts';
export { type Compiler, createCompiler } from './compile/compiler.ts';
export type { Answer, Learnt, LearntMove } from './compile/learnt.ts';
export type {
  CidrChange,
  CompilerChange,
  CompilerUpdate,
  DirectionChange,
  RowChange,
  SubjectChange,
} from './compile/update.ts';
export {
  type ConsideredRule,
  explain,
  type Explanation,
  type RuleOutcome,
  type RuleReference,
  type SideExplanation,
} from './explain/explain.ts';
export { explanationText, partyText } from './explain/text.ts';
export {
  classesMax,
  emptyUniverse,
  examplesMax,
  type KnownAddress,
  type KnownHost,
  type KnownWorkloads,
  type Universe,
  type UniverseSummary,
} from './analyse/universe.ts';
export type { DefinedIn, NamedParty, PartySet, PartyTerm } from './analyse/terms.ts';
export type { PortSet } from './analyse/port-set.ts';
export { type DifferenceGroup, type DifferenceKind, type PolicyDifference } from './analyse/difference.ts';
export { diffPolicies } from './analyse/diff.ts';
export { differenceText, universeText } from './analyse/difference-text.ts';
export { checkInvariants } from './analyse/invariant-check.ts';
export { argumentText, invariantText, witnessHopText } from './analyse/invariant-text.ts';
export { recommend } from './analyse/recommend.ts';
export { recommendationText } from './analyse/recommendation-text.ts';
export { createFlowTable } from './analyse/flow-table.ts';
export { createSimulation, simulate } from './analyse/simulate.ts';
export { simulationText } from './analyse/simulation-text.ts';
export { PartySetReader } from './analyse/party-set-reader.ts';
export { partySetText } from './analyse/terms-text.ts';
export { portSetHas, portSetText } from './analyse/port-set.ts';
export {
  type FlowColumns,
  type FlowFate,
  type FlowTable,
  type RecordedFlow,
  type RecordedFlows,
  type RecordedVerdict,
  recordedVerdicts,
  type SimulatedChange,
  type Simulation,
  type SimulationResult,
} from './analyse/simulation.ts';
export type {
  InvariantKind,
  InvariantOutcome,
  InvariantReport,
  InvariantResult,
  Statement,
  WitnessHop,
} from './analyse/invariant.ts';
export type { LeftOut, Recommendation, RecommendedRule, RecommendOptions } from './analyse/recommendation.ts';
export type {
  AdmitCommand,
  BeginCommand,
  ContactEnd,
  OverrideCommand,
  Place,
  StartCommand,
  WallChain,
  WallChainStep,
  WallCommand,
  WallConflict,
  WallMoment,
  WallOutcome,
  WallRefusal,
} from './walls/commands.ts';
export { generationName, subjectName } from './walls/commands.ts';
export { type WallLimits, wallLimits } from './walls/limits.ts';
export type { NamePair, WallConfiguration, WallReading, WallRule, WallScope } from './walls/wall.ts';
export type { Override } from './walls/overrides.ts';
export type { WallSnapshot } from './walls/snapshot.ts';
export { type Taint, Walls } from './walls/walls.ts';
export { wallConfiguration } from './resolve/wall.ts';
export { WallPlaces } from './walls/wall-places.ts';
export { type SeparationBreach, separationBreaches } from './walls/separation.ts';
export type { WitnessStep } from './walls/witness-path.ts';
export { type ClosureFacts, type WallClosure, wallClosure } from './walls/closure.ts';
