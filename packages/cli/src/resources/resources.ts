/** Everything that `get` lists: how it is called, how it is asked for, and how it reads. One table; `get` knows nothing else. */
import type { ApiClient } from '@bulkhead/protocol';
import { collect, type Collected } from '../client/pages.ts';
import { nearestName } from '@bulkhead/policy';
import { CommandFailure } from '../exit.ts';
import type { Column } from '../output/table.ts';
import { documentNames } from './document-kinds.ts';
import { documentColumns } from '../views/document-view.ts';
import { flowColumns, stagedColumns } from '../views/flow-view.ts';
import { hostColumns, identityColumns, workloadColumns } from '../views/inventory-view.ts';
import { questionColumns } from '../views/question-view.ts';
import {
  auditColumns,
  divergenceColumns,
  enrolmentColumns,
  revisionColumns,
  tokenColumns,
} from '../views/record-view.ts';

/** What `get` lets a person narrow a list by. A resource takes what it knows and refuses the rest. */
export interface Narrowing {
  readonly segment?: string;
  readonly host?: string;
  readonly label?: string;
  readonly search?: string;
  readonly revision?: number;
  readonly staged?: boolean;
  readonly namespace?: string;
  readonly governance?: 'governed' | 'observed' | 'ungoverned';
}

export interface Resource {
  /** Plural first, then other spellings. */
  readonly names: readonly [string, ...string[]];
  readonly narrows: readonly (keyof Narrowing)[];
  readonly empty: string;
  /** Rows with their columns bound to them: the types of the rows stay inside. */
  list(api: ApiClient, narrowing: Narrowing, limit: number, nowMs: number): Promise<ResourceList>;
}

export interface ResourceList {
  readonly rows: readonly unknown[];
  readonly columns: readonly Column<unknown>[];
  readonly name: (row: unknown) => string;
  readonly more: boolean;
}

/** Forgets the type of the rows once columns and names are bound to it: they only ever meet each other. */
function bind<Row>(found: Collected<Row>, columns: readonly Column<Row>[], name: (row: Row) => string): ResourceList {
  return {
    rows: found.items,
    columns: columns as readonly Column<unknown>[],
    name: name as (row: unknown) => string,
    more: found.more,
  };
}

function documents(
  names: Resource['names'],
  only: { readonly kind: string; readonly namespaced: boolean } | null,
): Resource {
  return {
    names,
    narrows: only?.namespaced === true ? ['search', 'revision', 'namespace'] : ['search', 'revision'],
    empty: `no ${names[0]}: apply some with  bulkhead apply -f FILE`,
    list: async (api, { search, revision, namespace }, limit, nowMs) => {
      // A namespace is the first part of a key: `KIND/NAMESPACE/NAME`.
      const part = namespace === undefined ? search : `/${namespace}/${search ?? ''}`;
      const query = {
        ...(only === null ? {} : { kind: only.kind }),
        ...(part === undefined ? {} : { search: part }),
        ...(revision === undefined ? {} : { revision }),
      };
      return bind(
        await collect(limit, (page) => api.listDocuments({ query: { ...page, ...query } })),
        documentColumns(nowMs),
        (row) => `${row.kind}/${row.name}`,
      );
    },
  };
}

export const resources: readonly Resource[] = [
  {
    names: ['workloads', 'workload', 'wl'],
    narrows: ['segment', 'host', 'label', 'search', 'governance'],
    empty: 'no workloads: start a container on a network of driver bulkhead, or  bulkhead attach',
    list: async (api, narrowing, limit, nowMs) =>
      bind(
        await collect(limit, (page) => api.listWorkloads({ query: { ...narrowing, ...page } })),
        workloadColumns(nowMs),
        (row) => row.name,
      ),
  },
  {
    names: ['hosts', 'host'],
    narrows: ['search'],
    empty: 'no hosts: enrol one with  bulkhead enroll HOST',
    list: async (api, { search }, limit, nowMs) =>
      bind(
        await collect(limit, (page) =>
          api.listHosts({ query: { ...page, ...(search === undefined ? {} : { search }) } }),
        ),
        hostColumns(nowMs),
        (row) => row.host,
      ),
  },
  ...documentNames.map(({ kind, names, namespaced }) => documents(names, { kind, namespaced: namespaced === true })),
  documents(['documents', 'document', 'docs'], null),
  {
    names: ['identities', 'identity'],
    narrows: ['segment'],
    empty: 'no identities yet: they come with the first workload',
    list: async (api, { segment }, limit) =>
      bind(
        await collect(limit, (page) =>
          api.listIdentities({ query: { ...page, ...(segment === undefined ? {} : { segment }) } }),
        ),
        identityColumns,
        (row) => String(row.identity),
      ),
  },
  {
    names: ['flows', 'flow'],
    narrows: ['segment', 'host', 'staged'],
    empty: 'no flows yet',
    list: async (api, narrowing, limit, nowMs) =>
      bind(
        await collect(limit, (page) => api.listFlows({ query: { ...page, ...narrowing } })),
        narrowing.staged === true ? stagedColumns(nowMs) : flowColumns(nowMs),
        (row) => row.id,
      ),
  },
  {
    names: ['questions', 'question'],
    narrows: ['segment', 'host'],
    empty: 'no questions yet',
    list: async (api, { segment, host }, limit, nowMs) =>
      bind(
        await collect(limit, (page) =>
          api.listQuestions({
            query: { ...page, ...(segment === undefined ? {} : { segment }), ...(host === undefined ? {} : { host }) },
          }),
        ),
        questionColumns(nowMs),
        (row) => row.id,
      ),
  },
  {
    names: ['divergences', 'divergence'],
    narrows: ['host'],
    empty: 'no differences between what engines believe and what the wire shows',
    list: async (api, { host }, limit, nowMs) =>
      bind(
        await collect(limit, (page) =>
          api.listDivergences({ query: { ...page, ...(host === undefined ? {} : { host }) } }),
        ),
        divergenceColumns(nowMs),
        (row) => row.id,
      ),
  },
  {
    names: ['revisions', 'revision'],
    narrows: [],
    empty: 'no revisions yet',
    list: async (api, _narrowing, limit, nowMs) =>
      bind(await collect(limit, (page) => api.listRevisions({ query: page })), revisionColumns(nowMs), (row) =>
        String(row.revision),
      ),
  },
  {
    names: ['audit'],
    narrows: [],
    empty: 'the audit log is empty',
    list: async (api, _narrowing, limit, nowMs) =>
      bind(await collect(limit, (page) => api.listAudit({ query: page })), auditColumns(nowMs), (row) =>
        String(row.sequence),
      ),
  },
  {
    names: ['tokens', 'token'],
    narrows: [],
    empty: 'no tokens',
    list: async (api, _narrowing, limit, nowMs) =>
      bind(await collect(limit, (page) => api.listTokens({ query: page })), tokenColumns(nowMs), (row) => row.id),
  },
  {
    names: ['enrolments', 'enrolment'],
    narrows: [],
    empty: 'no enrolment tokens are waiting to be used',
    list: async (api, _narrowing, limit, nowMs) =>
      bind(
        await collect(limit, (page) => api.listEnrolmentTokens({ query: page })),
        enrolmentColumns(nowMs),
        (row) => row.id,
      ),
  },
];

export const resourceNames: readonly string[] = resources.map((resource) => resource.names[0]);

export function findResource(name: string): Resource {
  const found = resources.find((resource) => resource.names.includes(name.toLowerCase()));
  if (found !== undefined) return found;
  const meant = nearestName(
    name,
    resources.flatMap((resource) => resource.names),
  );
  throw new CommandFailure('usage', `there is nothing called ${JSON.stringify(name)}`, {
    remedy: `${meant === null ? '' : `Did you mean ${meant}? `}Known: ${resourceNames.join(', ')}.`,
  });
}
