import type { Labels } from '../model.ts';
import { selectorText } from '../select/selector.ts';
import type { PartySet, PartyTerm } from './terms.ts';

/** Most terms of a set that a text lists, and most networks that one of them is without. */
const termsListedMax = 6;

export function partySetText({ terms, hypothetical }: PartySet): string {
  return termsText(terms) + (hypothetical ? ' (no such workload now)' : '');
}

function termsText(terms: readonly PartyTerm[]): string {
  if (terms.length === 0) return 'nobody';
  return listText(terms.map(termText), ' | ');
}

export function termText(term: PartyTerm): string {
  switch (term.kind) {
    case 'workloads':
      return term.except.length === 0
        ? 'every workload'
        : `every workload but ${listText(term.except.map(termText), ', ')}`;
    case 'segment':
      return (
        (term.only === null ? '' : `${term.only} of `) +
        (term.as === 'both' ? term.segment : `${term.segment} (as defined ${term.as})`)
      );
    case 'selector':
      return `{${selectorText(term.selector)}}`;
    case 'namespace':
      return `namespace ${term.namespace}`;
    case 'labels':
      return labelsText(term.labels);
    case 'addresses':
      return 'every address outside';
    case 'network':
      return term.except.length === 0 ? term.cidr : `${term.cidr} but ${listText(term.except, ', ')}`;
    case 'world':
      return 'addresses in no named network';
    case 'dns':
      return `addresses of ${term.pattern}`;
    case 'named-address':
      return term.names.length === 0 ? term.address : `${term.address} (${listText(term.names, ', ')})`;
    case 'host':
      return 'the host';
    case 'named-host':
      return `host ${term.host}`;
  }
}

function labelsText(labels: Labels): string {
  const list = labelList(labels);
  return list === '' ? 'workloads without labels' : `{only ${list}}`;
}

export function labelList(labels: Labels): string {
  return Object.entries(labels)
    .map(([key, value]) => `${key}=${value}`)
    .join(', ');
}

export function workloadsText(count: number): string {
  return count === 1 ? '1 workload' : `${count} workloads`;
}

function listText(texts: readonly string[], separator: string): string {
  const more = texts.length - termsListedMax;
  return texts.slice(0, termsListedMax).join(separator) + (more > 0 ? ` and ${more} more` : '');
}
